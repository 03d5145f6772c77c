#include "ipc_proxy_cache/link/packet_channel.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <span>
#include <utility>

#include "common/base/check.h"
#include "common/shm/seqpacket.h"

namespace ds::ipc_proxy_cache {

PacketChannel::PacketChannel(net::EventLoop* loop, UniqueFd socket, Sender peer, Receiver* receiver,
                             std::size_t queue_max)
    : loop_(loop),
      socket_(std::move(socket)),
      peer_(peer),
      receiver_(receiver),
      queue_max_(queue_max) {}

PacketChannel::~PacketChannel() {
  if (destroyed_ != nullptr) *destroyed_ = true;
  Close();
}

absl::Status PacketChannel::Start() {
  RETURN_IF_ERROR(loop_->Add(socket_.get(), EPOLLIN, this));
  watched_ = EPOLLIN;
  Flush();
  return absl::OkStatus();
}

void PacketChannel::Send(const Message& message, int descriptor) {
  if (!socket_ || !sending_ || !failure_.ok()) return;
  CHECK((descriptor >= 0) == (DescriptorsOf(message) == 1));
  std::vector<std::byte> bytes = EncodeMessage(message);
  if (queue_.empty()) {
    const std::span<const int> descriptors(&descriptor, descriptor >= 0 ? 1 : 0);
    const auto sent = shm::SendPacket(socket_.get(), bytes, descriptors);
    if (!sent.ok()) return Fail(sent.status());
    if (*sent == shm::SendResult::kSent) return;
  }
  if (queue_.size() >= queue_max_) {
    return Fail(Error(absl::StatusCode::kResourceExhausted,
                      fmt::format("the peer does not read: {} messages wait", queue_.size())));
  }
  UniqueFd duplicate;
  if (descriptor >= 0) {
    duplicate.Reset(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
    if (!duplicate) return Fail(ErrnoError("duplicate a descriptor", errno));
  }
  queue_.push_back({std::move(bytes), std::move(duplicate)});
  Watch(EPOLLIN | EPOLLOUT);
}

void PacketChannel::ShutDownSending() {
  if (!socket_) return;
  sending_ = false;
  queue_.clear();
  Watch(EPOLLIN);
  ::shutdown(socket_.get(), SHUT_WR);
}

void PacketChannel::ReceiveArrived() { Receive(kArrivedMax); }

void PacketChannel::OnEvents(std::uint32_t events) {
  if (events == 0) deferred_ = false;
  if (!failure_.ok()) return End(std::exchange(failure_, absl::OkStatus()));
  if ((events & EPOLLOUT) != 0) Flush();
  if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) Receive(kBatch);
}

void PacketChannel::Receive(int packets_max) {
  for (int i = 0; i < packets_max; ++i) {
    if (ReceiveOne() == Next::kNone) return;
  }
}

PacketChannel::Next PacketChannel::ReceiveOne() {
  if (!socket_ || !failure_.ok()) return Next::kNone;
  std::array<std::byte, kMessageBytesMax> buffer;  // NOLINT(*-member-init): written before read
  // A link sends a descriptor with its first message only; others do not become ours at all.
  const std::size_t descriptors_max = peer_ == Sender::kCache || first_ ? 1 : 0;
  auto received = shm::ReceivePacket(socket_.get(), buffer, descriptors_max);
  if (received.ok() && received->kind == shm::Received::Kind::kNothing) return Next::kNone;
  if (!received.ok() || received->kind == shm::Received::Kind::kEnd) {
    End(received.status());
    return Next::kNone;
  }
  first_ = false;
  const auto packet = std::span(buffer).first(received->bytes);
  auto message = DecodeMessage(packet, peer_);
  if (message.ok() && DescriptorsOf(*message) != received->descriptors.size()) {
    message = InvalidArgument("a message with a wrong number of descriptors");
  }
  if (!message.ok()) {
    // A program of another release learns ours from the header of whatever the cache says.
    if (peer_ == Sender::kLink && IsOfAnotherVersion(packet)) Send(Retired{});
    End(message.status());
    return Next::kNone;
  }
  UniqueFd descriptor;
  if (!received->descriptors.empty()) descriptor = std::move(received->descriptors.front());
  bool destroyed = false;
  bool* const outer = std::exchange(destroyed_, &destroyed);
  receiver_->OnMessage(std::move(*message), std::move(descriptor));
  if (destroyed) {
    if (outer != nullptr) *outer = true;
    return Next::kNone;
  }
  destroyed_ = outer;
  return Next::kMore;
}

void PacketChannel::Flush() {
  while (!queue_.empty()) {
    const Packet& packet = queue_.front();
    const int descriptor = packet.descriptor.get();
    const std::span<const int> descriptors(&descriptor, descriptor >= 0 ? 1 : 0);
    const auto sent = shm::SendPacket(socket_.get(), packet.bytes, descriptors);
    if (!sent.ok()) return Fail(sent.status());
    if (*sent == shm::SendResult::kWouldBlock) break;
    queue_.pop_front();
  }
  Watch(queue_.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

void PacketChannel::Fail(absl::Status why) {
  if (!failure_.ok()) return;
  failure_ = std::move(why);
  queue_.clear();
  if (deferred_) return;
  deferred_ = true;
  loop_->Defer(this);
}

void PacketChannel::End(const absl::Status& why) {
  Close();
  receiver_->OnLinkEnd(why);
}

void PacketChannel::Close() {
  if (!socket_) return;
  if (deferred_) loop_->CancelDefer(this);
  deferred_ = false;
  if (watched_ != 0) loop_->Remove(socket_.get(), this);
  watched_ = 0;
  socket_.Reset();
  queue_.clear();
}

void PacketChannel::Watch(std::uint32_t events) {
  if (watched_ == 0 || watched_ == events) return;
  watched_ = events;
  loop_->Rearm(socket_.get(), events, this);
}

}  // namespace ds::ipc_proxy_cache
