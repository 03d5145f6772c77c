#include "udp_transfer/net/datagram_port.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

namespace ds::udp_transfer {

absl::StatusOr<std::unique_ptr<DatagramPort>> DatagramPort::Create(net::EventLoop* loop,
                                                                   DatagramSocket socket,
                                                                   ReceiveBatch* in,
                                                                   Receiver* receiver) {
  std::unique_ptr<DatagramPort> port(new DatagramPort(loop, std::move(socket), in, receiver));
  RETURN_IF_ERROR(loop->Add(port->socket_.fd(), EPOLLIN, port.get()));
  return port;
}

DatagramPort::~DatagramPort() { loop_->Remove(socket_.fd(), this); }

std::span<std::byte> DatagramPort::Room() {
  if (blocked_) return {};
  std::span<std::byte> room = out_.Room();
  if (!room.empty()) return room;
  Flush();
  if (blocked_) return {};
  return out_.Room();
}

void DatagramPort::Add(std::size_t bytes, const Path& path, std::uint64_t owner, bool alone) {
  counters_.sent.Add();
  counters_.sent_bytes.Add(bytes);
  out_.Add(bytes, path, owner, alone);
}

void DatagramPort::AddIfRoom(std::span<const std::byte> datagram, const Path& path) {
  const std::span<std::byte> room = Room();
  if (room.empty()) return;
  std::copy(datagram.begin(), datagram.end(), room.begin());
  Add(datagram.size(), path, 0);
}

void DatagramPort::Flush() {
  if (blocked_ || out_.empty()) return;
  if (socket_.Send(out_)) return;
  blocked_ = true;
  counters_.blocked.Add();
  loop_->Rearm(socket_.fd(), EPOLLIN | EPOLLOUT, this);
}

void DatagramPort::OnEvents(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0 && blocked_) {
    blocked_ = !socket_.Send(out_);
    if (!blocked_) loop_->Rearm(socket_.fd(), EPOLLIN, this);
  }
  bool more = true;
  for (int i = 0; i < kBatchesPerTurn && more; ++i) {
    more = socket_.Receive(*in_);
    // Not the loop's time, which is that of the begin of the turn: an answer may come in the turn
    // in which the question left.
    const TimePoint now = std::chrono::steady_clock::now();
    in_->ForEach([this, now](std::span<std::byte> datagram, const Path& path) {
      counters_.received.Add();
      counters_.received_bytes.Add(datagram.size());
      receiver_->OnDatagram(*this, datagram, path, now);
    });
    receiver_->OnTurn(*this);
  }
}

}  // namespace ds::udp_transfer
