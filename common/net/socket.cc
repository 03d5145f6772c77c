#include "common/net/socket.h"

#include <fmt/format.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>

namespace ds::net {
namespace {

absl::Status SetOption(int fd, int level, int name, int value) {
  if (::setsockopt(fd, level, name, &value, sizeof value) == 0) return absl::OkStatus();
  return ErrnoError("setsockopt", errno);
}

}  // namespace

absl::StatusOr<Endpoint> LocalEndpoint(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
    return ErrnoError("getsockname", errno);
  }
  return Endpoint(reinterpret_cast<const sockaddr*>(&storage), length);
}

absl::StatusOr<Listener> ListenTcp(const Endpoint& endpoint, int backlog) {
  UniqueFd fd(::socket(endpoint.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoError(fmt::format("bind {}", endpoint.ToString()), errno);
  RETURN_IF_ERROR(SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1));
  if (endpoint.family() == AF_INET6) {
    RETURN_IF_ERROR(SetOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1));
  }
  if (::bind(fd.get(), endpoint.address(), endpoint.length()) != 0 ||
      ::listen(fd.get(), backlog) != 0) {
    const int error = errno;
    absl::Status status = ErrnoError(fmt::format("bind {}", endpoint.ToString()), error);
    if (error != EADDRINUSE) return status;
    return Error(status.code(), Message(status) + " (is another server running?)");
  }
  ASSIGN_OR_RETURN(const Endpoint local, LocalEndpoint(fd.get()));
  return Listener{std::move(fd), local};
}

absl::StatusOr<std::vector<Listener>> ListenLoopback(std::uint16_t port) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  v4.sin_port = htons(port);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_addr = in6addr_loopback;
  const Endpoint first(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  const Endpoint second(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
  // With port 0 the kernel picks a port that is free for IPv4; should somebody hold the same one
  // for IPv6, another pick is as good.
  for (int attempt = 0;; ++attempt) {
    std::vector<Listener> listeners;
    ASSIGN_OR_RETURN(Listener listener, ListenTcp(first));
    const std::uint16_t bound = listener.local.port();
    listeners.push_back(std::move(listener));
    auto other = ListenTcp(second.WithPort(bound));
    if (other.ok()) {
      listeners.push_back(std::move(other).value());
      return listeners;
    }
    if (other.status().code() == absl::StatusCode::kUnimplemented) return listeners;  // no IPv6
    const bool in_use = other.status().code() == absl::StatusCode::kUnavailable;
    if (!in_use || port != 0 || attempt >= 32) return other.status();
  }
}

absl::Status WaitFor(int fd, short events, Duration timeout, int cancel_fd) {
  const TimePoint deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    int wait_ms = -1;
    if (timeout > Duration::zero()) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      wait_ms = static_cast<int>(std::max<std::int64_t>(0, left.count()));
    }
    pollfd fds[2] = {{fd, events, 0}, {cancel_fd, POLLIN, 0}};
    const int ready = ::poll(fds, 2, wait_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return ErrnoError("poll", errno);
    if (fds[1].revents != 0) return Error(absl::StatusCode::kCancelled, "interrupted");
    if (fds[0].revents != 0) return absl::OkStatus();
    if (ready == 0) {
      return Error(absl::StatusCode::kDeadlineExceeded,
                   fmt::format("no progress for {} s", ToSeconds(timeout)));
    }
  }
}

absl::StatusOr<UniqueFd> ConnectTcp(const std::vector<Endpoint>& endpoints, Duration timeout,
                                    int cancel_fd) {
  absl::Status last = Unavailable("connect: no address");
  for (const Endpoint& endpoint : endpoints) {
    const std::string what = fmt::format("connect {}", endpoint.ToString());
    UniqueFd fd(::socket(endpoint.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) {
      last = ErrnoError(what, errno);
      continue;
    }
    RETURN_IF_ERROR(SetOption(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1));
    if (::connect(fd.get(), endpoint.address(), endpoint.length()) == 0) return fd;
    if (errno != EINPROGRESS) {
      last = ErrnoError(what, errno);
      continue;
    }
    if (absl::Status waited = WaitFor(fd.get(), POLLOUT, timeout, cancel_fd); !waited.ok()) {
      if (waited.code() == absl::StatusCode::kCancelled) return waited;
      last = Error(waited.code(), fmt::format("{}: {}", what, Message(waited)));
      continue;
    }
    const int error = TakeSocketError(fd.get());
    if (error == 0) return fd;
    last = ErrnoError(what, error);
  }
  return last;
}

std::size_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

std::uint64_t UnacknowledgedBytes(int fd) {
  int queued = 0;
  if (::ioctl(fd, SIOCOUTQ, &queued) != 0 || queued < 0) return 0;
  return static_cast<std::uint64_t>(queued);
}

std::uint64_t UnsentBytes(int fd) {
  int queued = 0;
  if (::ioctl(fd, SIOCOUTQNSD, &queued) != 0 || queued < 0) return 0;
  return static_cast<std::uint64_t>(queued);
}

int TakeSocketError(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

}  // namespace ds::net
