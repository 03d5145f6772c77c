#include "udp_transfer/net/datagram_socket.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/base/check.h"
#include "common/net/socket.h"

namespace ds::udp_transfer {
namespace {

bool SetOption(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

bool IsWildcard(const net::Endpoint& endpoint) {
  const PeerAddress address = ToPeerAddress(endpoint);
  const std::size_t begin = endpoint.family() == AF_INET ? 12 : 0;
  return std::all_of(address.bytes.begin() + static_cast<std::ptrdiff_t>(begin),
                     address.bytes.begin() + 16, [](std::byte b) { return b == std::byte{0}; });
}

bool IsLinkLocal(const in6_addr& address) { return IN6_IS_ADDR_LINKLOCAL(&address); }

template <typename T>
T ReadControl(const cmsghdr* control) {
  T value{};
  std::memcpy(&value, CMSG_DATA(control), sizeof value);
  return value;
}

/// Appends a control message to `header`, whose buffer has the room.
template <typename T>
void AddControl(msghdr& header, int level, int type, const T& value) {
  auto* control = reinterpret_cast<cmsghdr*>(static_cast<std::byte*>(header.msg_control) +
                                             header.msg_controllen);
  control->cmsg_level = level;
  control->cmsg_type = type;
  control->cmsg_len = CMSG_LEN(sizeof value);
  std::memcpy(CMSG_DATA(control), &value, sizeof value);
  header.msg_controllen += CMSG_SPACE(sizeof value);
}

absl::Status BindError(const net::Endpoint& endpoint, int error) {
  absl::Status status = ErrnoError(fmt::format("bind {}", endpoint.ToString()), error);
  if (error != EADDRINUSE) return status;
  return Error(status.code(), Message(status) + " (is another server running?)");
}

}  // namespace

ReceiveBatch::ReceiveBatch(std::size_t messages_max)
    : buffers_(new std::byte[messages_max * kBufferBytes]),  // not zeroed: touched when needed
      messages_(messages_max),
      contents_(messages_max),
      addresses_(messages_max),
      controls_(messages_max),
      segment_(messages_max),
      paths_(messages_max) {
  for (std::size_t i = 0; i < messages_max; ++i) {
    contents_[i] = {Buffer(i), kBufferBytes};
    msghdr& header = messages_[i].msg_hdr;
    header.msg_iov = &contents_[i];
    header.msg_iovlen = 1;
    header.msg_name = &addresses_[i];
    header.msg_control = controls_[i].data();
  }
}

SendBatch::SendBatch(std::size_t messages_max)
    : buffers_(new std::byte[(messages_max + 1) * kBufferBytes]),
      messages_(messages_max + 1),
      headers_(messages_max + 1),
      contents_(messages_max + 1),
      addresses_(messages_max + 1),
      controls_(messages_max + 1) {}

bool SendBatch::TakesMore(const Message& message) const {
  return !message.closed && message.segments < kSegmentsMax &&
         message.bytes + message.segment <= kMessageBytesMax;
}

std::span<std::byte> SendBatch::Room() {
  appends_ = count_ > first_ && TakesMore(messages_[count_ - 1]);
  if (count_ == messages_.size() || (count_ + 1 == messages_.size() && !appends_)) return {};
  std::byte* const begin =
      appends_ ? Buffer(count_ - 1) + messages_[count_ - 1].bytes : Buffer(count_);
  return {begin, kDatagramMax};
}

void SendBatch::Add(std::size_t bytes, const Path& path, std::uint64_t owner, bool alone) {
  CHECK(bytes <= kDatagramMax);
  if (std::exchange(appends_, false)) {
    Message& last = messages_[count_ - 1];
    if (!alone && bytes > 0 && bytes <= last.segment && last.owner == owner && last.path == path) {
      last.bytes += bytes;
      ++last.segments;
      last.closed = bytes < last.segment;
      return;
    }
    // Of another kind, after all.
    last.closed = true;
    std::memcpy(Buffer(count_), Buffer(count_ - 1) + last.bytes, bytes);
  }
  CHECK(count_ < messages_.size(), "Room() was empty");
  messages_[count_++] = {bytes, bytes, 1, owner, path, alone || bytes == 0};
}

absl::StatusOr<DatagramSocket> DatagramSocket::Open(int family, const Options& options) {
  UniqueFd fd(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoError("open a UDP socket", errno);
  const int raw = fd.get();
  DatagramSocket opened(std::move(fd), family);
  // More than the system's default limit needs a privilege; without it the limit has to do.
  if (!SetOption(raw, SOL_SOCKET, SO_RCVBUFFORCE, options.receive_buffer_bytes)) {
    SetOption(raw, SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
  }
  if (!SetOption(raw, SOL_SOCKET, SO_SNDBUFFORCE, options.send_buffer_bytes)) {
    SetOption(raw, SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes);
  }
  // PROBE: datagrams are not fragmented, and what ICMP says of the path's MTU, which anybody can
  // say, changes nothing. The connection searches the MTU by itself (RFC 8899).
  bool set = true;
  if (family == AF_INET6) {
    set = SetOption(raw, IPPROTO_IPV6, IPV6_V6ONLY, 1) &&
          SetOption(raw, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  } else {
    set = SetOption(raw, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  }
  if (!set) return ErrnoError("setsockopt", errno);
  if (options.offload) {
    int segment = 0;
    socklen_t length = sizeof segment;
    opened.segments_ = ::getsockopt(raw, SOL_UDP, UDP_SEGMENT, &segment, &length) == 0;
    SetOption(raw, SOL_UDP, UDP_GRO, 1);  // a kernel without it delivers datagrams one by one
  }
  return opened;
}

absl::StatusOr<DatagramSocket> DatagramSocket::Bind(const net::Endpoint& local,
                                                    const Options& options) {
  auto opened = Open(local.family(), options);
  if (!opened.ok()) {
    return Error(opened.status().code(),
                 fmt::format("bind {}: {}", local.ToString(), Message(opened.status())));
  }
  const int fd = opened->fd();
  // No SO_REUSEADDR: with UDP it would let a second server take the port over.
  if (::bind(fd, local.address(), local.length()) != 0) return BindError(local, errno);
  opened->wildcard_ = IsWildcard(local);
  if (opened->wildcard_) {
    const bool set = local.family() == AF_INET ? SetOption(fd, IPPROTO_IP, IP_PKTINFO, 1)
                                               : SetOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    if (!set) return BindError(local, errno);
  }
  ASSIGN_OR_RETURN(opened->local_, net::LocalEndpoint(fd));
  return opened;
}

absl::StatusOr<std::vector<DatagramSocket>> DatagramSocket::BindLoopback(std::uint16_t port,
                                                                         const Options& options) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  v4.sin_port = htons(port);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_addr = in6addr_loopback;
  const net::Endpoint first(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  const net::Endpoint second(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
  // Should somebody hold the port that the kernel picks for IPv4, another pick is as good.
  for (int attempt = 0;; ++attempt) {
    std::vector<DatagramSocket> sockets;
    ASSIGN_OR_RETURN(DatagramSocket socket, Bind(first, options));
    const std::uint16_t bound = socket.local().port();
    sockets.push_back(std::move(socket));
    auto other = Bind(second.WithPort(bound), options);
    if (other.ok()) {
      sockets.push_back(std::move(other).value());
      return sockets;
    }
    if (other.status().code() == absl::StatusCode::kUnimplemented) return sockets;  // no IPv6
    const bool in_use = other.status().code() == absl::StatusCode::kUnavailable;
    if (!in_use || port != 0 || attempt >= 32) return other.status();
  }
}

absl::StatusOr<DatagramSocket> DatagramSocket::Connect(const net::Endpoint& peer,
                                                       const Options& options) {
  ASSIGN_OR_RETURN(DatagramSocket opened, Open(peer.family(), options));
  if (::connect(opened.fd(), peer.address(), peer.length()) != 0) {
    return ErrnoError(fmt::format("connect {}", peer.ToString()), errno);
  }
  opened.connected_ = true;
  ASSIGN_OR_RETURN(opened.local_, net::LocalEndpoint(opened.fd()));
  return opened;
}

void DatagramSocket::AllowFragments(bool allow) {
  if (family_ == AF_INET6) {
    SetOption(fd(), IPPROTO_IPV6, IPV6_MTU_DISCOVER,
              allow ? IPV6_PMTUDISC_DONT : IPV6_PMTUDISC_PROBE);
  } else {
    SetOption(fd(), IPPROTO_IP, IP_MTU_DISCOVER, allow ? IP_PMTUDISC_DONT : IP_PMTUDISC_PROBE);
  }
}

bool DatagramSocket::Receive(ReceiveBatch& batch) {
  batch.count_ = 0;
  for (mmsghdr& message : batch.messages_) {
    message.msg_hdr.msg_namelen = sizeof(sockaddr_storage);
    message.msg_hdr.msg_controllen = ReceiveBatch::kControlBytes;
    message.msg_hdr.msg_flags = 0;
  }
  int count = -1;
  do {
    count = ::recvmmsg(fd(), batch.messages_.data(), static_cast<unsigned>(batch.messages_.size()),
                       0, nullptr);
    // An error that ICMP has reported for an earlier datagram stands in front of what has come.
    if (count < 0 && errno == ECONNREFUSED) refused_ = true;
  } while (count < 0 && (errno == EINTR || errno == ECONNREFUSED));
  if (count <= 0) return false;
  batch.count_ = static_cast<std::size_t>(count);
  for (std::size_t i = 0; i < batch.count_; ++i) {
    Path& path = batch.paths_[i];
    path = {};
    path.peer = ToPeerAddress(batch.addresses_[i]);
    if (family_ == AF_INET6) {
      const auto& v6 = reinterpret_cast<const sockaddr_in6&>(batch.addresses_[i]);
      if (IsLinkLocal(v6.sin6_addr)) path.interface = v6.sin6_scope_id;
    }
    batch.segment_[i] = 0;
    msghdr& header = batch.messages_[i].msg_hdr;
    for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
         control = CMSG_NXTHDR(&header, control)) {
      if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
        batch.segment_[i] = static_cast<std::size_t>(ReadControl<int>(control));
      } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
        const auto info = ReadControl<in_pktinfo>(control);
        std::memcpy(&path.local[12], &info.ipi_spec_dst, 4);
      } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
        const auto info = ReadControl<in6_pktinfo>(control);
        std::memcpy(path.local.data(), &info.ipi6_addr, 16);
      }
    }
  }
  return batch.full();
}

void DatagramSocket::FillHeader(SendBatch& batch, std::size_t message, std::size_t slot) const {
  const SendBatch::Message& out = batch.messages_[message];
  msghdr& header = batch.headers_[slot].msg_hdr;
  header = {};
  batch.contents_[slot] = {batch.Buffer(message), out.bytes};
  header.msg_iov = &batch.contents_[slot];
  header.msg_iovlen = 1;
  if (!connected_) {
    const net::Endpoint peer = ToEndpoint(out.path.peer, family_, out.path.interface);
    std::memcpy(&batch.addresses_[slot], peer.address(), peer.length());
    header.msg_name = &batch.addresses_[slot];
    header.msg_namelen = peer.length();
  }
  header.msg_control = batch.controls_[slot].bytes.data();
  if (out.segments > 1) {
    AddControl(header, SOL_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(out.segment));
  }
  if (wildcard_ && family_ == AF_INET) {
    in_pktinfo info{};
    std::memcpy(&info.ipi_spec_dst, &out.path.local[12], 4);
    AddControl(header, IPPROTO_IP, IP_PKTINFO, info);
  } else if (wildcard_) {
    in6_pktinfo info{};
    std::memcpy(&info.ipi6_addr, out.path.local.data(), 16);
    info.ipi6_ifindex = out.path.interface;
    AddControl(header, IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
  if (header.msg_controllen == 0) header.msg_control = nullptr;
}

bool DatagramSocket::Send(SendBatch& batch) {
  bool taken = true;
  while (taken && !batch.empty()) {
    SendBatch::Message& first = batch.messages_[batch.first_];
    if (first.segments > 1 && !segments_) {
      taken = SendSeparately(batch, first, batch.Buffer(batch.first_));
      if (taken) ++batch.first_;
      continue;
    }
    std::size_t slots = 0;
    for (std::size_t i = batch.first_; i < batch.count_; ++i) {
      if (batch.messages_[i].segments > 1 && !segments_) break;
      FillHeader(batch, i, slots++);
    }
    const int sent =
        ::sendmmsg(fd(), batch.headers_.data(), static_cast<unsigned>(slots), MSG_NOSIGNAL);
    if (sent > 0) {
      batch.first_ += static_cast<std::size_t>(sent);
      continue;
    }
    switch (errno) {
      case EINTR:
        break;
      case EAGAIN:
        taken = false;
        break;
      case ECONNREFUSED:  // of an earlier datagram; this one was not sent
        refused_ = true;
        break;
      case EIO:
      case EINVAL:
        if (first.segments > 1) {  // this way has no offload (EIO), or not for this size
          segments_ = segments_ && errno != EIO;
          taken = SendSeparately(batch, first, batch.Buffer(batch.first_));
          if (taken) ++batch.first_;
          break;
        }
        [[fallthrough]];
      default:
        batch.failures_.push_back({first.owner, first.segment, errno});
        ++batch.first_;
    }
  }
  if (batch.empty()) batch.first_ = batch.count_ = 0;
  return taken;
}

bool DatagramSocket::SendSeparately(SendBatch& batch, SendBatch::Message& message,
                                    std::byte* bytes) {
  FillHeader(batch, batch.first_, 0);
  // All but the segment size, which is the first control message.
  msghdr header = batch.headers_[0].msg_hdr;
  constexpr std::size_t kSkipped = CMSG_SPACE(sizeof(std::uint16_t));
  header.msg_controllen -= kSkipped;
  header.msg_control =
      header.msg_controllen == 0 ? nullptr : static_cast<std::byte*>(header.msg_control) + kSkipped;
  while (message.bytes > 0) {
    iovec content{bytes, std::min(message.bytes, message.segment)};
    header.msg_iov = &content;
    if (::sendmsg(fd(), &header, MSG_NOSIGNAL) < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        std::memmove(batch.Buffer(batch.first_), bytes, message.bytes);
        return false;
      }
      if (errno == ECONNREFUSED) {
        refused_ = true;
        continue;
      }
      batch.failures_.push_back({message.owner, content.iov_len, errno});
    }
    bytes += content.iov_len;
    message.bytes -= content.iov_len;
    --message.segments;
  }
  return true;
}

}  // namespace ds::udp_transfer
