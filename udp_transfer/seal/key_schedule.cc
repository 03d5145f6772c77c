#include "udp_transfer/seal/key_schedule.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <algorithm>
#include <memory>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

// In place of a pre-shared key. Part of the wire format.
constexpr std::string_view kNoKey = "ds udp_transfer 1: no key";

OSSL_PARAM Octets(const char* name, const void* data, std::size_t size) {
  return OSSL_PARAM_construct_octet_string(name, const_cast<void*>(data), size);
}

}  // namespace

void HkdfSha256(std::span<const std::byte> input, std::span<const std::byte> salt,
                std::string_view info, std::span<std::byte> out) {
  EVP_KDF* kdf = EVP_KDF_fetch(nullptr, OSSL_KDF_NAME_HKDF, nullptr);
  CHECK(kdf != nullptr, "OpenSSL has no HKDF");
  const std::unique_ptr<EVP_KDF_CTX, decltype(&EVP_KDF_CTX_free)> context(EVP_KDF_CTX_new(kdf),
                                                                          &EVP_KDF_CTX_free);
  EVP_KDF_free(kdf);
  char digest[] = "SHA256";
  std::array<OSSL_PARAM, 5> parameters{};
  std::size_t used = 0;
  parameters[used++] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
  parameters[used++] = Octets(OSSL_KDF_PARAM_KEY, input.data(), input.size());
  if (!salt.empty()) {
    parameters[used++] = Octets(OSSL_KDF_PARAM_SALT, salt.data(), salt.size());
  }
  if (!info.empty()) {
    parameters[used++] = Octets(OSSL_KDF_PARAM_INFO, info.data(), info.size());
  }
  parameters[used] = OSSL_PARAM_construct_end();
  CHECK(EVP_KDF_derive(context.get(), reinterpret_cast<unsigned char*>(out.data()), out.size(),
                       parameters.data()) == 1);
}

void FillRandom(std::span<std::byte> out) {
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size())) == 1,
        "no randomness");
}

KeySchedule::KeySchedule(std::optional<std::string> pre_shared_key)
    : encrypted_(pre_shared_key.has_value()),
      input_(pre_shared_key ? std::move(*pre_shared_key) : std::string(kNoKey)) {
  HkdfSha256(std::as_bytes(std::span(input_)), {}, "hello", hello_key_);
}

ConnectionKeys KeySchedule::Derive(const Random& client, const Random& server) const {
  std::array<std::byte, 32> salt;
  std::copy(client.begin(), client.end(), salt.begin());
  std::copy(server.begin(), server.end(), salt.begin() + client.size());
  const auto derive = [&](std::string_view info, std::span<std::byte> out) {
    HkdfSha256(std::as_bytes(std::span(input_)), salt, info, out);
  };
  ConnectionKeys keys;
  keys.client_to_server.encrypted = encrypted_;
  keys.server_to_client.encrypted = encrypted_;
  derive("client to server", keys.client_to_server.bytes);
  derive("server to client", keys.server_to_client.bytes);
  if (encrypted_) derive("file digests", keys.digest.emplace());
  return keys;
}

}  // namespace ds::udp_transfer
