#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/check.h"
#include "udp_transfer/core/connection.h"

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using ds::udp_transfer::Connection;
using State = Connection::State;

/// The input is a script: each step's first byte chooses what happens, the second how much of it.
/// The peer has the keys and says anything, the application and the clock do anything: no invariant
/// breaks, what leaves is well formed, and every wait has an end.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::span<const std::uint8_t> input(data, size);
  Connection::Options options;
  const bool server = !input.empty() && (input[0] & 1U) != 0;
  options.role = server ? Connection::Role::kServer : Connection::Role::kClient;
  options.id = 7;
  options.send_buffer = 40'000;
  options.receive_buffer = 65'536;
  options.datagram_max = !input.empty() && (input[0] & 2U) != 0 ? 9000 : 1472;
  options.peer_limit = 65'536;
  ds::TimePoint now{1000s};
  Connection connection(options, now);
  std::vector<std::byte> out(options.datagram_max);
  std::uint64_t number = 0;

  while (input.size() >= 2 && connection.state() != State::kClosed) {
    const unsigned choice = input[0] % 16;
    const unsigned amount = input[1];
    input = input.subspan(2);
    switch (choice) {
      case 0:
      case 1:
      case 2: {  // a packet, in order or not, with frames out of the input
        number += choice == 0 ? 1 : choice == 1 ? amount : 0 - std::uint64_t{amount};
        std::vector<std::byte> datagram(ds::udp_transfer::kPacketHeaderBytes);
        ds::udp_transfer::WireWriter writer(datagram);
        ds::udp_transfer::EncodeHeader(
            {.connection_id = 7, .packet_number_low = static_cast<std::uint32_t>(number)}, writer);
        const auto frames = std::as_bytes(input.first(std::min<std::size_t>(amount, input.size())));
        datagram.insert(datagram.end(), frames.begin(), frames.end());
        input = input.subspan(frames.size());
        if (const auto whole = connection.PacketNumber(datagram)) {
          CHECK(connection.HandleDatagram(datagram, *whole, now) !=
                Connection::Received::kDuplicate);
        }
        break;
      }
      case 3: {  // an ack of the newest packets that were sent, at least if it can be one
        const std::uint64_t sent = connection.stats().sent_datagrams;
        if (sent == 0) break;
        std::vector<std::byte> datagram(200);
        ds::udp_transfer::WireWriter writer(datagram);
        ++number;
        ds::udp_transfer::EncodeHeader(
            {.connection_id = 7, .packet_number_low = static_cast<std::uint32_t>(number)}, writer);
        const std::uint64_t count = std::min<std::uint64_t>(sent, 1 + amount / 8);
        const std::vector<ds::udp_transfer::Interval> ranges{{sent - count, sent}};
        ds::udp_transfer::EncodeAck(ranges, amount * 1000, 65'536 + amount * 1000, writer);
        const auto written = std::span(datagram).first(writer.written());
        if (const auto whole = connection.PacketNumber(written)) {
          connection.HandleDatagram(written, *whole, now);
        }
        break;
      }
      case 4:
        now += std::chrono::milliseconds(amount);
        break;
      case 5:
        if (connection.NextDeadline()) now = std::max(now, *connection.NextDeadline());
        break;
      case 6: {
        const auto room = connection.Writable();
        const std::size_t bytes = std::min<std::size_t>(room.size(), amount * 100);
        std::fill_n(room.begin(), bytes, std::byte{0x55});
        connection.Commit(bytes);
        break;
      }
      case 7: {
        const auto bytes = connection.Readable();
        CHECK(bytes.size() <= options.receive_buffer);
        connection.Consume(std::min<std::size_t>(bytes.size(), amount * 100));
        break;
      }
      case 8:
        connection.Finish();
        break;
      case 9:
        if (amount < 16) connection.Close(static_cast<std::uint8_t>(amount), "fuzz", now);
        break;
      case 10:
        if (!server && connection.NeedsCookie()) connection.HandleCookie({});
        break;
      case 11:
        if (amount < 64) {
          connection.HandlePathChange(amount % 2 == 0 ? Connection::PathChange::kPort
                                                      : Connection::PathChange::kAddress);
        }
        break;
      case 12:
        if (amount > 12) connection.DatagramTooBig(amount * 100, now);
        break;
      case 13:
        if (amount == 13) connection.HandleReset(now);
        break;
      default:
        break;
    }
    connection.HandleTimeout(now);
    int datagrams = 0;
    while (const auto transmit = connection.PollTransmit(out, now)) {
      CHECK(++datagrams < 1000, "it sends without end");
      CHECK(transmit->mtu_probe || transmit->size + options.tag_bytes <=
                                       std::max<std::size_t>(connection.datagram_bytes(), 1200));
      const auto sent = std::span(out).first(transmit->size);
      const auto header = ds::udp_transfer::DecodeHeader(sent);
      CHECK(header && header->initial.has_value() == transmit->initial);
      CHECK(header->packet_number_low == static_cast<std::uint32_t>(transmit->packet_number));
      ds::udp_transfer::FrameReader frames(sent.subspan(header->size()));
      while (frames.Next()) {
      }
      CHECK(frames.error().empty());
    }
    const auto deadline = connection.NextDeadline();
    CHECK(deadline.has_value() == (connection.state() != State::kClosed));
    CHECK(!deadline || *deadline > now, "a deadline has come, but there was nothing to do");
    CHECK(connection.acked() <= connection.written());
    CHECK(connection.congestion().in_flight() <= 1U << 24U);
  }
  return 0;
}
