#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "udp_transfer/core/hello.h"

namespace ds::udp_transfer {

/// Of one direction: AES-256-GCM's key (32 bytes) and nonce base (12), or XXH3's secret (192).
struct DirectionKey {
  bool encrypted = false;
  std::array<std::byte, 192> bytes{};
};

/// What makes file digests of a connection keyed ones; none without a pre-shared key.
using DigestKey = std::optional<std::array<std::byte, 32>>;

struct ConnectionKeys {
  DirectionKey client_to_server;
  DirectionKey server_to_client;
  DigestKey digest;
};

/// Derives every key from the pre-shared one or, without one, from a constant: what is derived from
/// the constant finds errors and keeps nobody out. A value; its const functions are thread-safe.
///
///   KeySchedule schedule(key_file.key);               // or std::nullopt
///   HelloSeal tags(schedule.hello_key());
///   ConnectionKeys keys = schedule.Derive(client_random, server_random);
///   Sealer out(keys.client_to_server), in(keys.server_to_client);   // at the client
///
/// Both randoms make a connection's keys its own, as long as the server takes up one cookie once
/// (CookieJar::Redeem). An initial packet that moves a known connection brings other randoms; they
/// are its cookie's, the connection keeps the keys that it began with.
class KeySchedule {
 public:
  explicit KeySchedule(std::optional<std::string> pre_shared_key);

  bool has_key() const { return encrypted_; }
  std::span<const std::byte, 32> hello_key() const { return hello_key_; }
  ConnectionKeys Derive(const Random& client, const Random& server) const;

 private:
  bool encrypted_;
  std::string input_;
  std::array<std::byte, 32> hello_key_;
};

/// HKDF with SHA-256, extract and expand (RFC 5869). REQUIRES: out is not empty, at most 8160
/// bytes.
void HkdfSha256(std::span<const std::byte> input, std::span<const std::byte> salt,
                std::string_view info, std::span<std::byte> out);

/// From the operating system's generator, by way of OpenSSL.
void FillRandom(std::span<std::byte> out);

}  // namespace ds::udp_transfer
