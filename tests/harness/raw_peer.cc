#include "tests/harness/raw_peer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <limits>

#include "common/base/check.h"
#include "common/net/endpoint.h"
#include "common/net/socket.h"

namespace ds::testing {
namespace {

TimePoint DeadlineFromNow(Duration deadline) {
  return std::chrono::steady_clock::now() + deadline * kSlowdown;
}

/// Waits for one of `events` until `deadline`; false when it has passed.
bool Await(int fd, short events, TimePoint deadline) {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd entry{fd, events, 0};
    const int ready = ::poll(&entry, 1,
                             static_cast<int>(std::clamp<std::int64_t>(
                                 left.count(), 0, std::numeric_limits<int>::max())));
    if (ready > 0) return true;
    if (ready == 0) return false;
    CHECK(errno == EINTR, "poll");
  }
}

}  // namespace

absl::StatusOr<RawPeer> RawPeer::Connect(const std::string& host, std::uint16_t port,
                                         const ConnectOptions& options) {
  ASSIGN_OR_RETURN(const auto endpoints, net::Endpoint::Resolve({host, port}));
  absl::Status last = Unavailable("connect: no address");
  for (const net::Endpoint& endpoint : endpoints) {
    UniqueFd fd(::socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return ErrnoError("socket", errno);
    const int buffer = options.receive_buffer_bytes;
    // Before connect(), or the window offered in the handshake is the default one.
    if (buffer > 0 && ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer) != 0) {
      return ErrnoError("set SO_RCVBUF", errno);
    }
    const int one = 1;
    if (::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
      return ErrnoError("set TCP_NODELAY", errno);
    }
    if (::connect(fd.get(), endpoint.address(), endpoint.length()) == 0) {
      return RawPeer(std::move(fd));
    }
    last = ErrnoError(fmt::format("connect {}", endpoint.ToString()), errno);
  }
  return last;
}

RawPeer::Received RawPeer::Exchange(const std::string& host, std::uint16_t port,
                                    std::string_view request, Duration deadline) {
  auto peer = Connect(host, port);
  if (!peer.ok()) {
    ADD_FAILURE() << Message(peer.status());
    return {.bytes = "", .end = End::kReset};
  }
  // A server may answer and close before it has read everything: what it said still counts.
  peer->Send(request);
  return peer->ReadToEnd(deadline);
}

bool RawPeer::Send(std::string_view bytes) {
  const TimePoint deadline = DeadlineFromNow(kDeadline);
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!Await(fd_.get(), POLLOUT, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool RawPeer::SendSlowly(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [&](const char& c) { return Send({&c, 1}); });
}

void RawPeer::ShutdownWrite() {
  // Fails if the peer has reset the connection already, which the next read will tell.
  ::shutdown(fd_.get(), SHUT_WR);
}

void RawPeer::Reset() {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  CHECK(::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
  fd_.Reset();
}

void RawPeer::Close() { fd_.Reset(); }

RawPeer::Received RawPeer::ReadToEnd(Duration deadline) {
  return Read(std::numeric_limits<std::size_t>::max(), deadline);
}

RawPeer::Received RawPeer::Read(std::size_t n, Duration deadline) {
  const TimePoint end = DeadlineFromNow(deadline);
  Received received;
  std::array<char, 65536> buffer;
  while (received.bytes.size() < n) {
    const std::size_t wanted = std::min(buffer.size(), n - received.bytes.size());
    const ssize_t got = ::recv(fd_.get(), buffer.data(), wanted, MSG_DONTWAIT);
    if (got > 0) {
      received.bytes.append(buffer.data(), static_cast<std::size_t>(got));
    } else if (got == 0) {
      received.end = End::kClosed;
      return received;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!Await(fd_.get(), POLLIN, end)) return received;
    } else if (errno != EINTR) {
      received.end = End::kReset;
      return received;
    }
  }
  received.end = End::kOpen;
  return received;
}

std::uint16_t RawPeer::local_port() const {
  auto local = net::LocalEndpoint(fd_.get());
  CHECK(local.ok());
  return local->port();
}

}  // namespace ds::testing
