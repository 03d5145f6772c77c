#include "getfile/client/workload.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstddef>
#include <utility>

#include "common/fs/read_file.h"
#include "getfile/core/checksum_list.h"
#include "getfile/core/path_list.h"

namespace ds::getfile {
namespace {

constexpr std::size_t kFileBytesMax = std::size_t{1} << 30U;

}  // namespace

absl::StatusOr<std::vector<std::string>> LoadWorkload(const std::string& file) {
  auto text = fs::ReadFile(file, kFileBytesMax);
  if (!text.ok()) return InvalidArgument("workload: " + Message(text.status()));
  PathList list = ParsePathList(*text);
  if (!list.errors.empty()) {
    return InvalidArgument(fmt::format("workload \"{}\": {}", file, fmt::join(list.errors, "; ")));
  }
  if (list.paths.empty()) {
    return InvalidArgument(fmt::format("workload \"{}\": it is empty", file));
  }
  return std::move(list.paths);
}

absl::StatusOr<std::map<std::string, std::string>> LoadDigests(const std::string& file) {
  auto text = fs::ReadFile(file, kFileBytesMax);
  if (!text.ok()) return InvalidArgument("verify: " + Message(text.status()));
  ChecksumList list = ParseChecksumList(*text);
  if (!list.errors.empty()) {
    return InvalidArgument(fmt::format("verify \"{}\": {}", file, fmt::join(list.errors, "; ")));
  }
  return std::move(list.digest_of);
}

}  // namespace ds::getfile
