#include "common/fs/key_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

#include "common/fs/read_file.h"

namespace ds::fs {

absl::StatusOr<KeyFile> ReadKeyFile(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadFile(path, KeyFile::kKeyBytesMax + 2);
  if (!bytes.ok() && !absl::IsResourceExhausted(bytes.status())) return bytes.status();
  KeyFile file;
  if (bytes.ok()) {
    file.key = std::move(*bytes);
    if (file.key.ends_with('\n')) file.key.pop_back();
    if (file.key.ends_with('\r')) file.key.pop_back();
    if (file.key.size() < KeyFile::kKeyBytesMin) {
      return InvalidArgument(fmt::format(
          "read key file \"{}\": a key of {} bytes is too short, at least {} are needed "
          "(openssl rand -base64 32 makes a good one)",
          path, file.key.size(), KeyFile::kKeyBytesMin));
    }
  }
  if (!bytes.ok() || file.key.size() > KeyFile::kKeyBytesMax) {
    return InvalidArgument(fmt::format("read key file \"{}\": a key has at most {} bytes", path,
                                       KeyFile::kKeyBytesMax));
  }
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return ErrnoError(fmt::format("stat key file \"{}\"", path), errno);
  }
  file.others_may_read = (info.st_mode & (S_IRGRP | S_IROTH)) != 0;
  return file;
}

}  // namespace ds::fs
