#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include "udp_transfer/core/hello.h"

typedef struct evp_mac_ctx_st EVP_MAC_CTX;

namespace ds::udp_transfer {

/// HMAC-SHA-256 (RFC 2104) under one key. Keeps its context, so that a message costs no allocation.
/// Not thread-safe; copied with all it has been fed.
class Hmac {
 public:
  static constexpr std::size_t kBytes = 32;
  using Value = std::array<std::byte, kBytes>;

  explicit Hmac(std::span<const std::byte> key);
  Hmac(const Hmac& other);
  Hmac(Hmac&&) noexcept = default;
  Hmac& operator=(const Hmac&) = delete;
  Hmac& operator=(Hmac&&) noexcept = default;
  ~Hmac();

  void Update(std::span<const std::byte> bytes);
  /// Of all that was fed since the last call; begins anew.
  Value Finish();

 private:
  struct Free {
    void operator()(EVP_MAC_CTX* context) const;
  };
  std::unique_ptr<EVP_MAC_CTX, Free> context_;
};

/// The tag of hellos, cookies and resets: their HMAC, cut to 16 bytes (RFC 2104 section 5).
///
///   HelloSeal tags(schedule.hello_key());
///   tags.Write(datagram.first(size - 16), datagram.last<16>());
///   if (!tags.Matches(datagram.first(size - 16), datagram.last<16>())) …
///
/// Not thread-safe.
class HelloSeal {
 public:
  explicit HelloSeal(std::span<const std::byte> key) : hmac_(key) {}

  void Write(std::span<const std::byte> message, std::span<std::byte, kHelloTagBytes> tag);
  /// In a time that does not depend on the bytes.
  bool Matches(std::span<const std::byte> message, std::span<const std::byte, kHelloTagBytes> tag);

 private:
  Hmac hmac_;
};

}  // namespace ds::udp_transfer
