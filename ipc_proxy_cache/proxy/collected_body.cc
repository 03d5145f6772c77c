#include "ipc_proxy_cache/proxy/collected_body.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "getfile/front/send.h"

namespace ds::ipc_proxy_cache {
namespace {

/// A file without a name, or one that loses it at once where the file system has no O_TMPFILE.
UniqueFd OpenNameless(const std::string& folder) {
  UniqueFd file(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file || (errno != EOPNOTSUPP && errno != EISDIR)) return file;
  std::string name = folder + "/getfile-proxy-XXXXXX";
  file.Reset(::mkostemp(name.data(), O_CLOEXEC));
  if (file) ::unlink(name.c_str());
  return file;
}

}  // namespace

absl::Status CollectedBody::Append(std::string_view bytes) {
  if (bytes.size() > limits_.bytes_max - size_) {
    return Error(absl::StatusCode::kResourceExhausted,
                 fmt::format("longer than {} bytes (see --max-unknown-length)", limits_.bytes_max));
  }
  size_ += bytes.size();
  if (!file_ && size_ <= limits_.memory_max) {
    memory_ += bytes;
    return absl::OkStatus();
  }
  if (!file_) {
    file_ = OpenNameless(limits_.folder);
    if (!file_) {
      return ErrnoError(fmt::format("make a temporary file in \"{}\"", limits_.folder), errno);
    }
    RETURN_IF_ERROR(Spill(memory_));
    memory_ = {};
  }
  return Spill(bytes);
}

absl::Status CollectedBody::Spill(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return ErrnoError(fmt::format("write a temporary file in \"{}\"", limits_.folder), errno);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return absl::OkStatus();
}

std::string CollectedBody::Read(std::uint64_t offset, std::size_t bytes_max) const {
  if (offset >= size_) return {};
  if (!file_) return memory_.substr(offset, bytes_max);
  std::string bytes(std::min<std::uint64_t>(bytes_max, size_ - offset), '\0');
  const ssize_t n = ::pread(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
  bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return bytes;
}

getfile::Body::Sent CollectedBody::Send(int socket, std::string_view head, std::uint64_t offset,
                                        std::uint64_t bytes_max, bool hold) {
  if (file_) return getfile::SendFromFile(socket, head, file_.get(), offset, bytes_max, hold);
  return getfile::SendFromMemory(socket, head, std::string_view(memory_).substr(offset, bytes_max),
                                 hold);
}

}  // namespace ds::ipc_proxy_cache
