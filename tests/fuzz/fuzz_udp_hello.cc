#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/check.h"
#include "udp_transfer/core/hello.h"

namespace udp = ds::udp_transfer;

/// A datagram is refused, or it is the one way to say what was read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> datagram(reinterpret_cast<const std::byte*>(data), size);
  const auto equal = [&](std::span<const std::byte> again) {
    return std::equal(again.begin(), again.end(), datagram.begin(), datagram.end());
  };
  if (const auto hello = udp::DecodeHello(datagram)) {
    std::array<std::byte, udp::kHelloBytes> again{};
    udp::EncodeHello(*hello, again);
    CHECK(equal(again) && udp::LooksLikeHello(datagram));
  }
  if (const auto cookie = udp::DecodeCookie(datagram)) {
    std::array<std::byte, udp::kCookieDatagramBytes> again{};
    udp::EncodeCookie(*cookie, again);
    CHECK(equal(again));
  }
  if (const auto reset = udp::DecodeReset(datagram)) {
    std::array<std::byte, udp::kResetBytes> again{};
    udp::EncodeReset(*reset, again);
    CHECK(equal(again));
  }
  if (const auto refusal = udp::DecodeRefusal(datagram)) {
    std::array<std::byte, udp::kRefusalBytes> again{};
    udp::EncodeRefusal(*refusal, again);
    CHECK(equal(again));
  }
  return 0;
}
