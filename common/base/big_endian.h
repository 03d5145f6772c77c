#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ds {

// Numbers in bytes, the most significant first: the order of all our formats on disks and wires.

namespace internal {
template <std::unsigned_integral T>
void PutBigEndian(char* out, T value) {
  for (std::size_t left = sizeof(T); left-- > 0;) {
    *out++ = static_cast<char>(static_cast<std::uint8_t>(value >> (8 * left)));
  }
}
template <std::unsigned_integral T>
void AppendBigEndian(std::string* bytes, T value) {
  char number[sizeof(T)];
  PutBigEndian(number, value);
  bytes->append(number, sizeof(T));
}
}  // namespace internal

/// Eight bytes from `out` on.
inline void PutU64(char* out, std::uint64_t value) { internal::PutBigEndian(out, value); }

inline void AppendU8(std::string* bytes, std::uint8_t value) {
  internal::AppendBigEndian(bytes, value);
}
inline void AppendU32(std::string* bytes, std::uint32_t value) {
  internal::AppendBigEndian(bytes, value);
}
inline void AppendU64(std::string* bytes, std::uint64_t value) {
  internal::AppendBigEndian(bytes, value);
}

/// Takes numbers from the front of bytes that nobody vouches for: what is not there whole is none,
/// and then nothing is taken. Refers to the bytes.
class BigEndianReader {
 public:
  explicit BigEndianReader(std::string_view bytes) : rest_(bytes) {}

  std::optional<std::uint8_t> U8() { return Number<std::uint8_t>(); }
  std::optional<std::uint32_t> U32() { return Number<std::uint32_t>(); }
  std::optional<std::uint64_t> U64() { return Number<std::uint64_t>(); }

  /// The next `size` bytes, in place.
  std::optional<std::string_view> Bytes(std::uint64_t size) {
    if (size > rest_.size()) return std::nullopt;
    const std::string_view taken = rest_.substr(0, static_cast<std::size_t>(size));
    rest_.remove_prefix(taken.size());
    return taken;
  }

  /// What has not been taken yet.
  std::string_view rest() const { return rest_; }
  bool empty() const { return rest_.empty(); }

 private:
  template <std::unsigned_integral T>
  std::optional<T> Number() {
    const auto bytes = Bytes(sizeof(T));
    if (!bytes) return std::nullopt;
    std::uint64_t value = 0;
    for (const char byte : *bytes) value = value << 8 | static_cast<std::uint8_t>(byte);
    return static_cast<T>(value);
  }

  std::string_view rest_;
};

}  // namespace ds
