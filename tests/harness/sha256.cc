#include "tests/harness/sha256.h"

#include <openssl/evp.h>

#include <array>

#include "common/base/check.h"
#include "common/base/parse.h"

namespace ds::testing {

std::string Sha256Hex(std::string_view bytes) {
  std::array<char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  CHECK(EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()),
                   &size, EVP_sha256(), nullptr) == 1);
  return ToHex({digest.data(), size});
}

}  // namespace ds::testing
