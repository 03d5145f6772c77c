#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "common/base/check.h"
#include "udp_transfer/core/classic_message.h"

using namespace ds::udp_transfer;  // NOLINT(google-build-using-namespace)

/// Whatever a datagram says, it is refused, or means what is written from its meaning.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> datagram(reinterpret_cast<const std::byte*>(data), size);
  const auto message = ParseClassic(datagram);
  if (!message) return 0;
  std::vector<std::byte> out(size + kClassicAckBytesMax);
  if (const auto* start = std::get_if<ClassicStart>(&*message)) {
    const std::size_t written = FormatClassic(*start, out);
    CHECK(written <= size);  // fewer, when a number had zeros in front
    const auto again = ParseClassic(std::span(out).first(written));
    CHECK(again && std::get<ClassicStart>(*again) == *start);
  } else if (const auto* ack = std::get_if<ClassicAck>(&*message)) {
    const std::size_t written = FormatClassic(*ack, out);
    CHECK(written <= size && written == ClassicAckBytes(*ack));
    const auto again = ParseClassic(std::span(out).first(written));
    CHECK(again && std::get<ClassicAck>(*again) == *ack);
  } else {
    const auto& payload = std::get<ClassicData>(*message);
    const std::size_t header = FormatClassicDataHeader(payload.seqno, out);
    CHECK(header == ClassicDataHeaderBytes(payload.seqno));
    CHECK(header + payload.payload.size() <= size);
    std::ranges::copy(payload.payload, out.begin() + static_cast<std::ptrdiff_t>(header));
    const auto again = ParseClassic(std::span(out).first(header + payload.payload.size()));
    CHECK(again && std::get<ClassicData>(*again).seqno == payload.seqno);
    CHECK(std::ranges::equal(std::get<ClassicData>(*again).payload, payload.payload));
  }
  return 0;
}
