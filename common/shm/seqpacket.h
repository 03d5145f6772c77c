#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <vector>

#include "common/base/status.h"
#include "common/base/unique_fd.h"

// Packets with descriptors over connected AF_UNIX SOCK_SEQPACKET sockets, and who is at the other
// end. The functions have no state and may be called from any thread.

namespace ds::shm {

/// The most descriptors that one packet may carry (the kernel's own limit is 253).
inline constexpr std::size_t kDescriptorsMax = 64;

enum class SendResult {
  kSent,
  kWouldBlock,  ///< the peer does not read; nothing was sent
};

/// Sends one packet, whole or not at all, with duplicates of `descriptors`. Never blocks on a
/// socket that is O_NONBLOCK. kUnavailable when the peer is gone (no SIGPIPE).
/// REQUIRES: `packet` is not empty; at most kDescriptorsMax descriptors.
absl::StatusOr<SendResult> SendPacket(int socket, std::span<const std::byte> packet,
                                      std::span<const int> descriptors = {});

struct Received {
  enum class Kind {
    kPacket,
    kNothing,  ///< would block
    kEnd,      ///< the peer has ended (or sent an empty packet, which nobody does)
  };
  Kind kind = Kind::kNothing;
  std::size_t bytes = 0;                ///< of the packet, at the beginning of the buffer
  std::vector<UniqueFd> descriptors{};  ///< close-on-exec; not trusted to be of any kind
};

/// Receives one packet into `buffer`, with at most `descriptors_max` descriptors. With 0 the kernel
/// drops what was sent before it becomes a descriptor of this process. kInvalidArgument, with all
/// descriptors of the packet closed, if the packet is longer than the buffer, or carries more
/// descriptors than that, or if some were lost because this process may open no more; the peer is
/// to be given up then. REQUIRES: descriptors_max <= kDescriptorsMax; `buffer` is not empty.
absl::StatusOr<Received> ReceivePacket(int socket, std::span<std::byte> buffer,
                                       std::size_t descriptors_max);

/// The process that connected, or that listened, as it was at that time (SO_PEERCRED). The process
/// id is for messages only: it may be another process's by now.
struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};
absl::StatusOr<PeerCredentials> CredentialsOfPeer(int socket);

}  // namespace ds::shm
