#include "getfile/front/send.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>

#include "common/base/check.h"

namespace ds::getfile {
namespace {

Body::Outcome OutcomeOfErrno(int error) {
  return error == EAGAIN || error == EWOULDBLOCK ? Body::Outcome::kSocketFull
                                                 : Body::Outcome::kPeerGone;
}

void SetCork(int socket, int on) { ::setsockopt(socket, IPPROTO_TCP, TCP_CORK, &on, sizeof on); }

}  // namespace

Body::Sent SendFromMemory(int socket, std::string_view head, std::string_view bytes, bool hold) {
  std::array<iovec, 2> parts{iovec{const_cast<char*>(head.data()), head.size()},
                             iovec{const_cast<char*>(bytes.data()), bytes.size()}};
  const msghdr message{.msg_name = nullptr,
                       .msg_namelen = 0,
                       .msg_iov = parts.data(),
                       .msg_iovlen = parts.size(),
                       .msg_control = nullptr,
                       .msg_controllen = 0,
                       .msg_flags = 0};
  const ssize_t n = ::sendmsg(socket, &message, MSG_NOSIGNAL | (hold ? MSG_MORE : 0));
  if (n < 0) return {OutcomeOfErrno(errno), 0};
  const auto sent = static_cast<std::uint64_t>(n);
  return {sent < head.size() + bytes.size() ? Body::Outcome::kSocketFull : Body::Outcome::kSent,
          sent};
}

Body::Sent SendFromFile(int socket, std::string_view head, int file, std::uint64_t position,
                        std::uint64_t bytes, bool hold) {
  CHECK(bytes > 0);
  Body::Sent sent;
  if (hold && !head.empty()) SetCork(socket, 1);  // sendfile has no MSG_MORE
  if (!head.empty()) {
    // MSG_MORE: head and first body bytes share a segment.
    const ssize_t n = ::send(socket, head.data(), head.size(), MSG_NOSIGNAL | MSG_MORE);
    if (n < 0) return {OutcomeOfErrno(errno), 0};
    sent.bytes = static_cast<std::uint64_t>(n);
    if (sent.bytes < head.size()) return {Body::Outcome::kSocketFull, sent.bytes};
  }
  auto offset = static_cast<off_t>(position);
  const ssize_t n = ::sendfile(socket, file, &offset, bytes);
  if (n > 0) {
    sent.bytes += static_cast<std::uint64_t>(n);
    if (static_cast<std::uint64_t>(n) < bytes) sent.outcome = Body::Outcome::kSocketFull;
    return sent;
  }
  if (n == 0) return {Body::Outcome::kSourceBroken, sent.bytes};  // the file has become shorter
  switch (errno) {
    case EPIPE:
    case ECONNRESET:
    case ETIMEDOUT:
    case EAGAIN:
    case ENOMEM:  // the kernel has no memory for this socket
    case ENOBUFS:
      return {OutcomeOfErrno(errno), sent.bytes};
    default:  // EIO and its like: the disk, not the peer
      return {Body::Outcome::kSourceBroken, sent.bytes};
  }
}

void SendHeld(int socket) { SetCork(socket, 0); }

}  // namespace ds::getfile
