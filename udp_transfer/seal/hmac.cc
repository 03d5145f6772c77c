#include "udp_transfer/seal/hmac.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

const unsigned char* Raw(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

}  // namespace

void Hmac::Free::operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }

Hmac::Hmac(std::span<const std::byte> key) {
  EVP_MAC* mac = EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, nullptr);
  CHECK(mac != nullptr, "OpenSSL has no HMAC");
  context_.reset(EVP_MAC_CTX_new(mac));
  EVP_MAC_free(mac);
  CHECK(context_ != nullptr);
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end(),
  };
  CHECK(!key.empty());
  CHECK(EVP_MAC_init(context_.get(), Raw(key.data()), key.size(), parameters) == 1);
}

Hmac::Hmac(const Hmac& other) : context_(EVP_MAC_CTX_dup(other.context_.get())) {
  CHECK(context_ != nullptr);
}

Hmac::~Hmac() = default;

void Hmac::Update(std::span<const std::byte> bytes) {
  CHECK(EVP_MAC_update(context_.get(), Raw(bytes.data()), bytes.size()) == 1);
}

Hmac::Value Hmac::Finish() {
  Value value;
  std::size_t size = 0;
  CHECK(EVP_MAC_final(context_.get(), reinterpret_cast<unsigned char*>(value.data()), &size,
                      value.size()) == 1);
  CHECK(size == value.size());
  CHECK(EVP_MAC_init(context_.get(), nullptr, 0, nullptr) == 1);  // the same key again
  return value;
}

void HelloSeal::Write(std::span<const std::byte> message,
                      std::span<std::byte, kHelloTagBytes> tag) {
  hmac_.Update(message);
  const Hmac::Value value = hmac_.Finish();
  std::copy_n(value.begin(), tag.size(), tag.begin());
}

bool HelloSeal::Matches(std::span<const std::byte> message,
                        std::span<const std::byte, kHelloTagBytes> tag) {
  hmac_.Update(message);
  const Hmac::Value value = hmac_.Finish();
  return CRYPTO_memcmp(value.data(), tag.data(), tag.size()) == 0;
}

}  // namespace ds::udp_transfer
