#include "ipc_proxy_cache/cache/content.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "common/base/http_date.h"
#include "common/fs/read_file.h"
#include "getfile/core/content_list.h"
#include "getfile/server/media_types.h"
#include "ipc_proxy_cache/core/stored_fields.h"

namespace ds::ipc_proxy_cache {
namespace {

absl::StatusOr<struct stat> StatFile(const std::string& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return ErrnoError(fmt::format("\"{}\"", file), errno);
  if (!S_ISREG(status.st_mode)) {
    return InvalidArgument(fmt::format("\"{}\": not a regular file", file));
  }
  return status;
}

}  // namespace

absl::StatusOr<std::vector<PinnedFile>> ReadContentFile(const std::string& name,
                                                        std::uint64_t bytes_max) {
  const auto text = fs::ReadFile(name);
  if (!text.ok()) return InvalidArgument("content file: " + Message(text.status()));
  getfile::ContentList list = getfile::ParseContentList(*text);
  const std::filesystem::path folder = std::filesystem::path(name).parent_path();
  std::vector<PinnedFile> files;
  for (auto& entry : list.entries) {
    std::string file = (folder / entry.file).string();
    if (const auto status = StatFile(file); !status.ok()) {
      list.errors.push_back(fmt::format("line {}: {}", entry.line, Message(status.status())));
    } else if (static_cast<std::uint64_t>(status->st_size) > bytes_max) {
      list.errors.push_back(
          fmt::format("line {}: \"{}\": larger than {} bytes (see --memory and --max-object)",
                      entry.line, file, bytes_max));
    }
    files.push_back({std::move(entry.key), std::move(file)});
  }
  if (!list.errors.empty()) {
    return InvalidArgument(
        fmt::format("content file \"{}\": {}", name, fmt::join(list.errors, "; ")));
  }
  return files;
}

absl::StatusOr<PinnedContent> ReadPinned(const PinnedFile& file, std::uint64_t bytes_max) {
  ASSIGN_OR_RETURN(const struct stat status, StatFile(file.file));
  PinnedContent content;
  ASSIGN_OR_RETURN(content.body, fs::ReadFile(file.file, bytes_max));
  const StoredFields fields{.status = 200,
                            .date_unix_s = std::max<std::int64_t>(status.st_mtime, 0),
                            .content_type = getfile::MediaTypes::OfThisMachine().TypeOf(
                                std::filesystem::path(file.file).filename().string()),
                            .last_modified = FormatHttpDate(status.st_mtime)};
  content.fields = EncodeStoredFields(View(fields)).value();
  return content;
}

}  // namespace ds::ipc_proxy_cache
