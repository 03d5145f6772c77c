#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "getfile/core/checksum_list.h"
#include "getfile/core/content_list.h"
#include "getfile/core/path_list.h"
#include "getfile/core/protocol.h"

/// The three list files: what comes out can be requested, and is never empty where it may not be.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto& entry : ds::getfile::ParseContentList(text).entries) {
    CHECK(ds::getfile::IsRequestPath(entry.key));
    CHECK(!entry.file.empty() && entry.file.find('\n') == std::string::npos);
  }
  for (const auto& path : ds::getfile::ParsePathList(text).paths) {
    CHECK(ds::getfile::IsRequestPath(path));
  }
  for (const auto& [name, digest] : ds::getfile::ParseChecksumList(text).digest_of) {
    CHECK(digest.size() == 64);
  }
  return 0;
}
