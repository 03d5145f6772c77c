#include "common/fs/read_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "common/base/unique_fd.h"

namespace ds::fs {

absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t bytes_max) {
  // O_NONBLOCK for the open: a FIFO that nobody writes to must not hang the program. A pipe that
  // somebody writes to is read to its end.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return ErrnoError(fmt::format("open \"{}\"", path), errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoError(fmt::format("stat \"{}\"", path), errno);
  if (::fcntl(fd.get(), F_SETFL, 0) != 0) return ErrnoError("fcntl", errno);
  if (S_ISDIR(info.st_mode)) return ErrnoError(fmt::format("read \"{}\"", path), EISDIR);
  std::string content;
  char buffer[65536];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(fmt::format("read \"{}\"", path), errno);
    if (n == 0) return content;
    if (content.size() + static_cast<std::size_t>(n) > bytes_max) {
      return Error(absl::StatusCode::kResourceExhausted,
                   fmt::format("read \"{}\": larger than {} bytes", path, bytes_max));
    }
    content.append(buffer, static_cast<std::size_t>(n));
  }
}

}  // namespace ds::fs
