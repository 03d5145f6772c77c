#include "compute/tcp/line_printer.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/base/check.h"
#include "common/net/socket.h"

namespace ds::compute::tcp {

absl::StatusOr<std::unique_ptr<LinePrinter>> LinePrinter::Start(int fd) {
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  if (!stop) return ErrnoError("eventfd", errno);
  return std::unique_ptr<LinePrinter>(new LinePrinter(fd, std::move(stop)));
}

LinePrinter::LinePrinter(int fd, UniqueFd stop) : fd_(fd), stop_(std::move(stop)) {
  thread_ = std::jthread([this](const std::stop_token& token) { Run(token); });
  ::pthread_setname_np(thread_.native_handle(), "lines");
}

LinePrinter::~LinePrinter() {
  thread_.request_stop();
  const std::uint64_t one = 1;
  CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
}

void LinePrinter::Print(std::string_view line) {
  const std::lock_guard lock(mutex_);
  if (waiting_.size() + line.size() >= kBytesMax) {
    lines_lost_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  waiting_ += line;
  waiting_ += '\n';
  changed_.notify_all();
}

void LinePrinter::Flush(TimePoint deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [&] { return waiting_.empty() && !printing_; });
}

void LinePrinter::Run(const std::stop_token& stop) {
  std::string lines;
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [&] { return !waiting_.empty(); })) {
    lines.clear();
    lines.swap(waiting_);
    printing_ = true;
    lock.unlock();
    const bool printed = Write(lines);
    lock.lock();
    printing_ = false;
    if (!printed) {
      lines_lost_.fetch_add(
          static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n')),
          std::memory_order_relaxed);
    }
    changed_.notify_all();
  }
}

/// False if it could not write all of it.
bool LinePrinter::Write(std::string_view lines) {
  while (!lines.empty()) {
    // A pipe that is ready takes so much at once: the write does not wait, and tears no line.
    std::string_view piece = lines.substr(0, PIPE_BUF);
    if (piece.size() < lines.size()) piece = piece.substr(0, piece.rfind('\n') + 1);
    if (!net::WaitFor(fd_, POLLOUT, Duration::zero(), stop_.get()).ok()) return false;
    const ssize_t n = ::write(fd_, piece.data(), piece.size());
    if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
    lines.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  }
  return true;
}

}  // namespace ds::compute::tcp
