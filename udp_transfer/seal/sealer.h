#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "udp_transfer/seal/key_schedule.h"

typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;

namespace ds::udp_transfer {

/// Seals, or opens, the initial and packet datagrams of one direction of one connection, in place:
/// AES-256-GCM (the nonce is made of the packet number as in RFC 9001 section 5.3) with a key,
/// XXH3-64 without. No allocation and no system call for a datagram. Not thread-safe.
///
///   Sealer out(keys.client_to_server);
///   out.Seal(packet_number, header_bytes, datagram);       // the last tag_bytes() are the tag
///   auto opened = in.Open(packet_number, header_bytes, datagram);
class Sealer {
 public:
  explicit Sealer(const DirectionKey& key);
  Sealer(Sealer&&) noexcept = default;
  Sealer& operator=(Sealer&&) noexcept = default;
  ~Sealer();

  /// 16 with a key, 8 without.
  static std::size_t TagBytes(bool encrypted) { return encrypted ? 16 : 8; }
  std::size_t tag_bytes() const { return TagBytes(cipher_ != nullptr); }

  /// Encrypts what lies between the header (everything before the frames, as it is on the wire) and
  /// the tag, and writes the tag. A packet number is for one Seal() only.
  /// REQUIRES: datagram.size() >= header_bytes + tag_bytes().
  void Seal(std::uint64_t packet_number, std::size_t header_bytes, std::span<std::byte> datagram);

  /// The datagram without its tag, decrypted; or nothing when it is too short or was not sealed
  /// with this key and number: then its bytes are spoilt. Whether the number is a new one is not
  /// looked at.
  std::optional<std::span<std::byte>> Open(std::uint64_t packet_number, std::size_t header_bytes,
                                           std::span<std::byte> datagram);

 private:
  struct Free {
    void operator()(EVP_CIPHER_CTX* context) const;
  };

  std::array<std::byte, 12> Nonce(std::uint64_t packet_number) const;
  std::uint64_t Hash(std::uint64_t packet_number, std::span<const std::byte> bytes) const;

  DirectionKey key_;
  std::unique_ptr<EVP_CIPHER_CTX, Free> cipher_;  ///< with the key set; null without one
};

}  // namespace ds::udp_transfer
