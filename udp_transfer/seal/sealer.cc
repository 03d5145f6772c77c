#include "udp_transfer/seal/sealer.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

constexpr std::size_t kKeyBytes = 32;

unsigned char* Raw(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }
const unsigned char* Raw(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

}  // namespace

void Sealer::Free::operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }

Sealer::Sealer(const DirectionKey& key) : key_(key) {
  static_assert(sizeof key.bytes >= XXH3_SECRET_SIZE_MIN);
  if (!key.encrypted) return;
  cipher_.reset(EVP_CIPHER_CTX_new());
  CHECK(cipher_ != nullptr);
  EVP_CIPHER* aes = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  CHECK(aes != nullptr, "OpenSSL has no AES-256-GCM");
  CHECK(EVP_CipherInit_ex2(cipher_.get(), aes, Raw(key_.bytes.data()), nullptr, 1, nullptr) == 1);
  EVP_CIPHER_free(aes);
}

Sealer::~Sealer() = default;

std::array<std::byte, 12> Sealer::Nonce(std::uint64_t packet_number) const {
  std::array<std::byte, 12> nonce;
  std::copy_n(key_.bytes.begin() + kKeyBytes, nonce.size(), nonce.begin());
  for (std::size_t i = 0; i < 8; ++i) {
    nonce[nonce.size() - 1 - i] ^= static_cast<std::byte>(packet_number >> (8 * i));
  }
  return nonce;
}

/// The half of the packet number that is not in the datagram counts too.
std::uint64_t Sealer::Hash(std::uint64_t packet_number, std::span<const std::byte> bytes) const {
  return XXH3_64bits_withSecret(bytes.data(), bytes.size(), key_.bytes.data(), key_.bytes.size()) ^
         (packet_number >> 32U);
}

void Sealer::Seal(std::uint64_t packet_number, std::size_t header_bytes,
                  std::span<std::byte> datagram) {
  CHECK(datagram.size() >= header_bytes + tag_bytes());
  const auto sealed = datagram.first(datagram.size() - tag_bytes());
  const auto tag = datagram.last(tag_bytes());
  if (!cipher_) {
    XXH64_canonical_t canonical;
    XXH64_canonicalFromHash(&canonical, Hash(packet_number, sealed));
    std::memcpy(tag.data(), canonical.digest, tag.size());
    return;
  }
  const auto frames = sealed.subspan(header_bytes);
  const auto nonce = Nonce(packet_number);
  EVP_CIPHER_CTX* cipher = cipher_.get();
  int size = 0;
  CHECK(EVP_CipherInit_ex2(cipher, nullptr, nullptr, Raw(nonce.data()), 1, nullptr) == 1);
  CHECK(EVP_CipherUpdate(cipher, nullptr, &size, Raw(sealed.data()),
                         static_cast<int>(header_bytes)) == 1);
  CHECK(EVP_CipherUpdate(cipher, Raw(frames.data()), &size, Raw(frames.data()),
                         static_cast<int>(frames.size())) == 1);
  CHECK(EVP_CipherFinal_ex(cipher, Raw(tag.data()), &size) == 1);
  CHECK(EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag.size()),
                            tag.data()) == 1);
}

std::optional<std::span<std::byte>> Sealer::Open(std::uint64_t packet_number,
                                                 std::size_t header_bytes,
                                                 std::span<std::byte> datagram) {
  if (datagram.size() < header_bytes + tag_bytes()) return std::nullopt;
  const auto sealed = datagram.first(datagram.size() - tag_bytes());
  const auto tag = datagram.last(tag_bytes());
  if (!cipher_) {
    XXH64_canonical_t canonical;
    std::memcpy(canonical.digest, tag.data(), tag.size());
    if (XXH64_hashFromCanonical(&canonical) != Hash(packet_number, sealed)) return std::nullopt;
    return sealed;
  }
  const auto frames = sealed.subspan(header_bytes);
  const auto nonce = Nonce(packet_number);
  EVP_CIPHER_CTX* cipher = cipher_.get();
  int size = 0;
  CHECK(EVP_CipherInit_ex2(cipher, nullptr, nullptr, Raw(nonce.data()), 0, nullptr) == 1);
  CHECK(EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(tag.size()),
                            tag.data()) == 1);
  CHECK(EVP_CipherUpdate(cipher, nullptr, &size, Raw(sealed.data()),
                         static_cast<int>(header_bytes)) == 1);
  CHECK(EVP_CipherUpdate(cipher, Raw(frames.data()), &size, Raw(frames.data()),
                         static_cast<int>(frames.size())) == 1);
  if (EVP_CipherFinal_ex(cipher, Raw(tag.data()), &size) != 1) return std::nullopt;
  return sealed;
}

}  // namespace ds::udp_transfer
