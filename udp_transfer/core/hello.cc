#include "udp_transfer/core/hello.h"

#include <algorithm>
#include <string_view>

#include "udp_transfer/core/wire.h"

namespace ds::udp_transfer {
namespace {

constexpr std::string_view kHelloBegin = "f | 0 | ";
constexpr std::size_t kHelloFieldBytes = kHelloTaggedBytes + kHelloTagBytes;
constexpr std::string_view kDigits = "0123456789abcdef";

}  // namespace

std::array<std::byte, kHelloTaggedBytes> TaggedHelloBytes(const Hello& hello) {
  std::array<std::byte, kHelloTaggedBytes> bytes{};
  WireWriter writer(bytes);
  writer.Number(hello.first_version, 1);
  writer.Number(hello.last_version, 1);
  writer.Number(hello.connection_id, 8);
  writer.Bytes(hello.client_random);
  return bytes;
}

void EncodeHello(const Hello& hello, std::span<std::byte, kHelloBytes> out) {
  std::fill(out.begin(), out.end(), static_cast<std::byte>(' '));
  WireWriter writer(out);
  writer.Bytes(std::as_bytes(std::span(kHelloBegin)));
  const auto digits = [&](std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) {
      writer.Number(static_cast<unsigned char>(kDigits[static_cast<unsigned>(byte) >> 4U]), 1);
      writer.Number(static_cast<unsigned char>(kDigits[static_cast<unsigned>(byte) & 15U]), 1);
    }
  };
  digits(TaggedHelloBytes(hello));
  digits(hello.tag);
}

bool LooksLikeHello(std::span<const std::byte> datagram) {
  const std::span<const std::byte> begin = std::as_bytes(std::span(kHelloBegin));
  return datagram.size() >= begin.size() &&
         std::equal(begin.begin(), begin.end(), datagram.begin());
}

std::optional<Hello> DecodeHello(std::span<const std::byte> datagram) {
  if (datagram.size() != kHelloBytes || !LooksLikeHello(datagram)) return std::nullopt;
  const auto digits = datagram.subspan(kHelloBegin.size(), 2 * kHelloFieldBytes);
  std::array<std::byte, kHelloFieldBytes> fields{};
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const std::size_t high = kDigits.find(static_cast<char>(digits[2 * i]));
    const std::size_t low = kDigits.find(static_cast<char>(digits[2 * i + 1]));
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    fields[i] = static_cast<std::byte>(high << 4U | low);
  }
  const auto padding = datagram.subspan(kHelloBegin.size() + digits.size());
  if (!std::all_of(padding.begin(), padding.end(),
                   [](std::byte byte) { return byte == static_cast<std::byte>(' '); })) {
    return std::nullopt;
  }
  WireReader reader(fields);
  Hello hello;
  hello.first_version = static_cast<std::uint8_t>(reader.Number(1));
  hello.last_version = static_cast<std::uint8_t>(reader.Number(1));
  hello.connection_id = reader.Number(8);
  hello.client_random = reader.Array<16>();
  hello.tag = reader.Array<kHelloTagBytes>();
  if (hello.first_version > hello.last_version) return std::nullopt;
  return hello;
}

void EncodeCookie(const CookieMessage& message, std::span<std::byte, kCookieDatagramBytes> out) {
  WireWriter writer(out);
  writer.Number(kCookieType, 1);
  writer.Number(message.version, 1);
  writer.Number(message.connection_id, 8);
  writer.Bytes(message.client_random_begin);
  writer.Bytes(message.server_random);
  writer.Bytes(message.cookie);
  writer.Number(message.receive_window, 4);
  writer.Bytes(message.tag);
}

std::optional<CookieMessage> DecodeCookie(std::span<const std::byte> datagram) {
  WireReader reader(datagram);
  if (datagram.size() != kCookieDatagramBytes || reader.Number(1) != kCookieType) {
    return std::nullopt;
  }
  CookieMessage message;
  message.version = static_cast<std::uint8_t>(reader.Number(1));
  message.connection_id = reader.Number(8);
  message.client_random_begin = reader.Array<8>();
  message.server_random = reader.Array<16>();
  message.cookie = reader.Array<24>();
  message.receive_window = static_cast<std::uint32_t>(reader.Number(4));
  message.tag = reader.Array<kHelloTagBytes>();
  return message;
}

void EncodeReset(const Reset& reset, std::span<std::byte, kResetBytes> out) {
  WireWriter writer(out);
  writer.Number(kResetType, 1);
  writer.Number(reset.connection_id, 8);
  writer.Bytes(reset.tag);
}

std::optional<Reset> DecodeReset(std::span<const std::byte> datagram) {
  WireReader reader(datagram);
  if (datagram.size() != kResetBytes || reader.Number(1) != kResetType) return std::nullopt;
  Reset reset;
  reset.connection_id = reader.Number(8);
  reset.tag = reader.Array<kHelloTagBytes>();
  return reset;
}

void EncodeRefusal(const Refusal& refusal, std::span<std::byte, kRefusalBytes> out) {
  WireWriter writer(out);
  writer.Number(kRefusalType, 1);
  writer.Number(refusal.connection_id, 8);
  writer.Number(static_cast<std::uint8_t>(refusal.reason), 1);
  writer.Bytes(refusal.tag);
}

std::optional<Refusal> DecodeRefusal(std::span<const std::byte> datagram) {
  WireReader reader(datagram);
  if (datagram.size() != kRefusalBytes || reader.Number(1) != kRefusalType) return std::nullopt;
  Refusal refusal;
  refusal.connection_id = reader.Number(8);
  refusal.reason = static_cast<RefusalReason>(reader.Number(1));
  if (refusal.reason != RefusalReason::kFull && refusal.reason != RefusalReason::kShutdown) {
    return std::nullopt;
  }
  refusal.tag = reader.Array<kHelloTagBytes>();
  return refusal;
}

}  // namespace ds::udp_transfer
