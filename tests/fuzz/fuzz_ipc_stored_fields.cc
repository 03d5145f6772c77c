#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "getfile/core/http_text.h"
#include "ipc_proxy_cache/core/stored_fields.h"

using namespace ds::ipc_proxy_cache;  // NOLINT(google-build-using-namespace)

/// What is decoded is encoded to the same bytes; what is valid is safe to write into an answer.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto fields = DecodeStoredFields(bytes);
  if (!fields) return 0;
  CHECK(EncodeStoredFields(*fields) == bytes);
  if (!ValidateStoredFields(*fields).ok()) return 0;
  std::size_t in_further = 0;
  for (const HttpField& field : ListFields(*fields)) {
    CHECK(ds::getfile::IsToken(field.name) && ds::getfile::IsFieldValue(field.value));
    if (field.value.data() >= fields->further.data() &&
        field.value.data() <= fields->further.data() + fields->further.size()) {
      in_further += field.name.size() + field.value.size() + 4;
    }
  }
  CHECK(in_further == fields->further.size(), "each byte of the lines belongs to a field");
  return 0;
}
