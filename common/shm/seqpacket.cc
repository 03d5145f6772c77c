#include "common/shm/seqpacket.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/base/check.h"

namespace ds::shm {
namespace {

/// Room for one control message with kDescriptorsMax descriptors.
struct ControlBuffer {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kDescriptorsMax * sizeof(int))> bytes;
};

/// Owns every descriptor that the control messages brought, expected or not.
std::vector<UniqueFd> TakeDescriptors(msghdr& message) {
  std::vector<UniqueFd> descriptors;
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr;
       control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
      descriptors.emplace_back(fd);
    }
  }
  return descriptors;
}

}  // namespace

absl::StatusOr<SendResult> SendPacket(int socket, std::span<const std::byte> packet,
                                      std::span<const int> descriptors) {
  CHECK(!packet.empty());
  CHECK(descriptors.size() <= kDescriptorsMax);
  iovec content{const_cast<std::byte*>(packet.data()), packet.size()};
  msghdr message{};
  message.msg_iov = &content;
  message.msg_iovlen = 1;
  ControlBuffer buffer{};
  if (!descriptors.empty()) {
    message.msg_control = buffer.bytes.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(control), descriptors.data(), descriptors.size_bytes());
  }
  for (;;) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent >= 0) return SendResult::kSent;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return SendResult::kWouldBlock;
    if (errno != EINTR) return ErrnoError("send a packet", errno);
  }
}

absl::StatusOr<Received> ReceivePacket(int socket, std::span<std::byte> buffer,
                                       std::size_t descriptors_max) {
  CHECK(!buffer.empty());
  CHECK(descriptors_max <= kDescriptorsMax);
  ControlBuffer control{};
  iovec content{buffer.data(), buffer.size()};
  msghdr message{};
  ssize_t got = -1;
  do {
    message = {};
    message.msg_iov = &content;
    message.msg_iovlen = 1;
    if (descriptors_max > 0) {
      message.msg_control = control.bytes.data();
      message.msg_controllen = CMSG_SPACE(descriptors_max * sizeof(int));
    }
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Received{};
    if (errno == ECONNRESET) return Received{.kind = Received::Kind::kEnd};
    return ErrnoError("receive a packet", errno);
  }
  Received received{.kind = Received::Kind::kPacket, .bytes = static_cast<std::size_t>(got)};
  received.descriptors = TakeDescriptors(message);
  // Padding makes room for one descriptor more than an odd maximum: it may have come untruncated.
  if ((message.msg_flags & MSG_CTRUNC) != 0 || received.descriptors.size() > descriptors_max) {
    return InvalidArgument(
        fmt::format("receive a packet: more than {} descriptors, or too many open files here",
                    descriptors_max));
  }
  if ((message.msg_flags & MSG_TRUNC) != 0) {
    return InvalidArgument(fmt::format("receive a packet: longer than {} bytes", buffer.size()));
  }
  if (got == 0) return Received{.kind = Received::Kind::kEnd};
  return received;
}

absl::StatusOr<PeerCredentials> CredentialsOfPeer(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return ErrnoError("ask for the credentials of the peer", errno);
  }
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

}  // namespace ds::shm
