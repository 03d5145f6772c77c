#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/check.h"
#include "udp_transfer/core/discovery.h"

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using ds::udp_transfer::ClassicClient;
using ds::udp_transfer::Discovery;

/// The input is a script: each step's first byte chooses what happens, the second how much. No
/// server makes the client send more than the classic protocol and its hellos allow, or wait for
/// ever.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::uint64_t kBytes = 200;
  std::span<const std::byte> input(reinterpret_cast<const std::byte*>(data), size);
  const auto mode = static_cast<Discovery::Mode>(size % 3);
  const Discovery::Options options{
      .mode = mode, .timeout = 4s, .classic = {.name = "f", .total_bytes = size % 5 * 50}};
  ds::TimePoint now{1s};
  Discovery client(options, now);
  std::vector<std::byte> out(ds::udp_transfer::kClassicDatagramBytesMax);
  std::uint64_t supplied = 0;
  while (client.outcome() == Discovery::Outcome::kRunning) {
    if (ClassicClient* classic = client.classic()) {
      if (const auto wanted = classic->Wanted()) {
        CHECK(wanted->offset == supplied && !wanted->room.empty());
        supplied += wanted->room.size();
        CHECK(supplied <= kBytes);
        std::ranges::fill(wanted->room, std::byte{' '});
        classic->Supplied();
      }
    }
    for (int burst = 0; const auto datagram = client.PollTransmit(out, now); ++burst) {
      CHECK(burst < 2, "one message and one hello at a time");
      CHECK(datagram->hello == (datagram->bytes == 0));
      CHECK(!datagram->hello || mode != Discovery::Mode::kClassic);
      CHECK(datagram->hello || mode != Discovery::Mode::kFast);
    }
    CHECK(client.NextDeadline() && *client.NextDeadline() > now, "every wait ends");
    const std::size_t choice = input.empty() ? 0 : static_cast<std::size_t>(input[0]) % 8;
    const std::size_t amount = input.size() < 2 ? 0 : static_cast<std::size_t>(input[1]);
    input = input.subspan(std::min<std::size_t>(input.size(), 2));
    if (choice == 0) {
      now = *client.NextDeadline();
      client.HandleTimeout(now);
    } else if (choice == 1) {
      client.HandleCookie(now);
    } else if (choice == 2) {
      client.HandleRefusal();
    } else {
      const auto datagram = input.first(std::min(amount, input.size()));
      input = input.subspan(datagram.size());
      client.HandleDatagram(datagram, now);
    }
  }
  CHECK(!client.NextDeadline());
  if (client.outcome() == Discovery::Outcome::kFailed) CHECK(!client.FailureText().empty());
  if (client.outcome() == Discovery::Outcome::kClassicDone) {
    CHECK(supplied == options.classic.total_bytes);
  }
  return 0;
}
