#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "raft/core/configuration.h"

using namespace ds::raft;  // NOLINT(google-build-using-namespace)

/// Bytes are no configuration, or a valid one with these bytes as its only encoding; what it
/// becomes when the joint one is left is valid too.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto configuration = DecodeConfiguration(bytes);
  if (!configuration.ok()) return 0;
  CHECK(configuration->Validate().ok());
  CHECK(EncodeConfiguration(*configuration) == bytes);
  const Configuration left = configuration->Left();
  CHECK(left.Validate().ok() && !left.joint());
  CHECK(*DecodeConfiguration(EncodeConfiguration(left)) == left);
  return 0;
}
