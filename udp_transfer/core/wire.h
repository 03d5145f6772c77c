#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/base/check.h"

namespace ds::udp_transfer {

/// Payload of the largest UDP datagram over IPv4.
inline constexpr std::size_t kDatagramMax = 65'507;

/// The largest number that a QUIC varint holds (RFC 9000, section 16), and the end of all offsets
/// and packet numbers.
inline constexpr std::uint64_t kVarintEnd = std::uint64_t{1} << 62U;

/// Bytes of `value` as a QUIC varint. REQUIRES: value < kVarintEnd.
constexpr std::size_t VarintBytes(std::uint64_t value) {
  if (value < 64) return 1;
  if (value < 16384) return 2;
  return value < (std::uint64_t{1} << 30U) ? 4 : 8;
}

/// The lowest `bytes` bytes of `number`, highest first.
inline void AppendBigEndian(std::string* out, std::uint64_t number, std::size_t bytes) {
  while (bytes-- > 0) out->push_back(static_cast<char>(number >> (8 * bytes)));
}

/// Takes a number of `bytes` bytes off the front. REQUIRES: there are that many.
inline std::uint64_t TakeBigEndian(std::string_view* in, std::size_t bytes) {
  CHECK(bytes <= in->size());
  std::uint64_t number = 0;
  for (const char c : in->substr(0, bytes)) number = number << 8U | static_cast<unsigned char>(c);
  in->remove_prefix(bytes);
  return number;
}

/// Writes big-endian numbers and bytes one after another. Whoever uses it has seen to it that there
/// is room: writing beyond the end is a bug. A value, for one function's use.
class WireWriter {
 public:
  explicit WireWriter(std::span<std::byte> out) : out_(out) {}

  std::size_t written() const { return written_; }
  std::size_t left() const { return out_.size() - written_; }

  /// The lowest `bytes` bytes of `value`, highest first.
  void Number(std::uint64_t value, std::size_t bytes) {
    const std::span<std::byte> field = Skip(bytes);
    for (std::size_t i = bytes; i-- > 0; value >>= 8U) field[i] = static_cast<std::byte>(value);
  }
  void Varint(std::uint64_t value) {
    const std::size_t bytes = VarintBytes(value);
    Number(
        value | (std::uint64_t{static_cast<unsigned>(std::countr_zero(bytes))} << (8 * bytes - 2)),
        bytes);
  }
  void Bytes(std::span<const std::byte> bytes) {
    const std::span<std::byte> field = Skip(bytes.size());
    if (!bytes.empty()) std::memcpy(field.data(), bytes.data(), bytes.size());
  }
  /// The next `bytes` bytes, for the caller to write.
  std::span<std::byte> Skip(std::size_t bytes) {
    CHECK(bytes <= left());
    written_ += bytes;
    return out_.subspan(written_ - bytes, bytes);
  }

 private:
  std::span<std::byte> out_;
  std::size_t written_ = 0;
};

/// Reads what a WireWriter wrote, from a peer that may lie: beyond the end everything is zero and
/// ok() is false from then on. A value, for one function's use.
class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> bytes) : left_(bytes) {}

  bool ok() const { return ok_; }
  std::span<const std::byte> left() const { return left_; }

  std::uint64_t Number(std::size_t bytes) {
    std::uint64_t value = 0;
    for (const std::byte byte : Bytes(bytes)) value = (value << 8U) | static_cast<unsigned>(byte);
    return value;
  }
  std::uint64_t Varint() {
    if (left_.empty()) return Number(1);
    const std::size_t bytes = std::size_t{1} << (static_cast<unsigned>(left_[0]) >> 6U);
    return Number(bytes) & ((std::uint64_t{1} << (8 * bytes - 2)) - 1);
  }
  /// Empty when there are fewer.
  std::span<const std::byte> Bytes(std::size_t bytes) {
    if (bytes > left_.size()) {
      ok_ = false;
      left_ = {};
      return {};
    }
    const std::span<const std::byte> taken = left_.first(bytes);
    left_ = left_.subspan(bytes);
    return taken;
  }
  template <std::size_t kBytes>
  std::array<std::byte, kBytes> Array() {
    std::array<std::byte, kBytes> array{};
    const std::span<const std::byte> taken = Bytes(kBytes);
    std::copy(taken.begin(), taken.end(), array.begin());
    return array;
  }

 private:
  std::span<const std::byte> left_;
  bool ok_ = true;
};

}  // namespace ds::udp_transfer
