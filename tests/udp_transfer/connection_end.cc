#include "tests/udp_transfer/connection_end.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace ds::udp_transfer {
namespace {

/// Finds every flipped bit; the packet number is part of it, as with a real seal.
std::array<std::byte, ConnectionEnd::kTagBytes> Tag(std::span<const std::byte> datagram,
                                                    std::uint64_t packet_number) {
  std::uint64_t sum = packet_number * 0x9e3779b97f4a7c15 + datagram.size();
  while (!datagram.empty()) {
    std::uint64_t word = 0;
    const std::size_t bytes = std::min(datagram.size(), sizeof(word));
    std::memcpy(&word, datagram.data(), bytes);
    datagram = datagram.subspan(bytes);
    sum = (sum ^ word) * 0xff51afd7ed558ccd;
    sum ^= sum >> 32U;
  }
  std::array<std::byte, ConnectionEnd::kTagBytes> tag{};
  std::memcpy(tag.data(), &sum, tag.size());
  return tag;
}

}  // namespace

ConnectionEnd::ConnectionEnd(std::string name, sim::Scheduler& scheduler,
                             const Connection::Options& options, const Stream& written,
                             const Stream& read, Send send)
    : name_(std::move(name)),
      scheduler_(scheduler),
      connection_(options, scheduler.now()),
      options_(options),
      written_(written),
      read_(read),
      send_(std::move(send)),
      out_(std::max(options.datagram_max, std::size_t{65536}) + kTagBytes) {}

void ConnectionEnd::Deliver(std::vector<std::byte> datagram) {
  if (datagram.size() < kTagBytes) return;
  const std::span<const std::byte> opened = std::span(datagram).first(datagram.size() - kTagBytes);
  const auto number = connection_.PacketNumber(opened);
  if (!number) return;
  const auto tag = Tag(opened, *number);
  if (!std::equal(tag.begin(), tag.end(), datagram.end() - kTagBytes)) {
    ++bad_tags_;
    return;
  }
  connection_.HandleDatagram(opened, *number, scheduler_.now());
  PumpSoon();
}

void ConnectionEnd::PumpSoon() {
  if (pump_) return;
  pump_ = scheduler_.After(Duration::zero(), [this] {
    pump_.reset();
    Pump();
  });
}

void ConnectionEnd::Pump() {
  Read();
  Write();
  if (!complete_ && connection_.complete()) {
    complete_ = true;
    completed_at_ = scheduler_.now();
    if (close_when_complete_) connection_.Close(kCloseDone, "", scheduler_.now());
  }
  connection_.HandleTimeout(scheduler_.now());
  Transmit();
  Arm();
}

void ConnectionEnd::Write() {
  while (connection_.written() < std::min(written_.bytes, written_.allowed)) {
    std::span<std::byte> out = connection_.Writable();
    if (out.empty()) return;
    out = out.first(static_cast<std::size_t>(
        std::min<std::uint64_t>({out.size(), written_.bytes - connection_.written(),
                                 written_.allowed - connection_.written()})));
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = StreamByte(written_.seed, connection_.written() + i);
    }
    connection_.Commit(out.size());
  }
  if (connection_.written() == written_.bytes) connection_.Finish();
}

void ConnectionEnd::Read() {
  while (bytes_read_ < read_.allowed) {
    std::span<const std::byte> in = connection_.Readable();
    in = in.first(
        static_cast<std::size_t>(std::min<std::uint64_t>(in.size(), read_.allowed - bytes_read_)));
    if (in.empty()) break;
    for (std::size_t i = 0; i < in.size(); ++i) {
      if (in[i] != StreamByte(read_.seed, bytes_read_ + i)) {
        scheduler_.Fail(fmt::format("{}: byte {} of the stream is wrong", name_, bytes_read_ + i));
        return;
      }
    }
    bytes_read_ += in.size();
    connection_.Consume(in.size());
  }
  if (bytes_read_ > read_.bytes || (connection_.PeerFinished() && bytes_read_ != read_.bytes)) {
    scheduler_.Fail(fmt::format("{}: {} bytes read of {}", name_, bytes_read_, read_.bytes));
  }
}

void ConnectionEnd::Transmit() {
  constexpr int kDatagramsMax = 100'000;
  for (int i = 0; i < kDatagramsMax; ++i) {
    const auto transmit = connection_.PollTransmit(out_, scheduler_.now());
    if (!transmit) return;
    const auto tag = Tag(std::span(out_).first(transmit->size), transmit->packet_number);
    std::copy(tag.begin(), tag.end(), out_.begin() + static_cast<std::ptrdiff_t>(transmit->size));
    scheduler_.Trace("{} sends {}: {} bytes", name_, transmit->packet_number, transmit->size);
    send_(std::span(out_).first(transmit->size + kTagBytes));
  }
  scheduler_.Fail(name_ + ": sends without end");
}

void ConnectionEnd::Arm() {
  if (timer_) scheduler_.Cancel(*timer_);
  timer_.reset();
  const auto deadline = connection_.NextDeadline();
  if (!deadline) return;
  if (*deadline <= scheduler_.now()) {
    scheduler_.Fail(name_ + ": a deadline has come, but there was nothing to do");
    return;
  }
  timer_ = scheduler_.At(*deadline, [this] {
    timer_.reset();
    Pump();
  });
}

}  // namespace ds::udp_transfer
