#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "common/net/endpoint.h"

namespace ds::net {

struct Listener {
  UniqueFd socket;  ///< non-blocking, close-on-exec
  Endpoint local;   ///< with the port that was bound
};

/// Binds and listens. SO_REUSEADDR (restart at once), no SO_REUSEPORT (a second server must fail),
/// IPV6_V6ONLY. The errors name the address and, for an address in use, what to do.
absl::StatusOr<Listener> ListenTcp(const Endpoint& endpoint, int backlog = 4096);

/// Listens on 127.0.0.1 and [::1] at `port`; port 0 gets the same free port on both. Without IPv6
/// on this machine only the first is returned; the caller warns.
absl::StatusOr<std::vector<Listener>> ListenLoopback(std::uint16_t port);

/// Connects to the first of `endpoints` that accepts, each within `timeout` (forever if zero).
/// `cancel_fd` (or -1): gives up with kCancelled once it is readable. The socket is non-blocking,
/// with TCP_NODELAY.
absl::StatusOr<UniqueFd> ConnectTcp(const std::vector<Endpoint>& endpoints, Duration timeout,
                                    int cancel_fd);

/// Waits until `fd` has one of `events` (poll(2)), at most `timeout`. kDeadlineExceeded after that,
/// kCancelled once `cancel_fd` is readable.
absl::Status WaitFor(int fd, short events, Duration timeout, int cancel_fd);

/// Raises the soft limit of open files to the hard one, and returns it.
std::size_t RaiseDescriptorLimit();

/// The local address of a bound socket.
absl::StatusOr<Endpoint> LocalEndpoint(int fd);

/// Bytes given to the kernel that the peer has not acknowledged (SIOCOUTQ); 0 on error.
std::uint64_t UnacknowledgedBytes(int fd);

/// Bytes given to the kernel that it has not sent yet (SIOCOUTQNSD); 0 on error.
std::uint64_t UnsentBytes(int fd);

/// The error that waits to be reported (SO_ERROR), and takes it: 0 when there is none. After the
/// peer's end of stream, recv() reports that end for ever, and a reset only comes to light here.
int TakeSocketError(int fd);

}  // namespace ds::net
