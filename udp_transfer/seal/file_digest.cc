#include "udp_transfer/seal/file_digest.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cstring>

#include "common/base/check.h"

namespace ds::udp_transfer {

void FileDigest::Free::operator()(XXH3_state_t* state) const { XXH3_freeState(state); }

FileDigest::FileDigest(const DigestKey& key) {
  if (key) {
    keyed_.emplace(*key);
  } else {
    plain_.reset(XXH3_createState());
    CHECK(plain_ != nullptr);
    CHECK(XXH3_128bits_reset(plain_.get()) == XXH_OK);
  }
}

FileDigest::~FileDigest() = default;

void FileDigest::Update(std::span<const std::byte> bytes) {
  if (keyed_) {
    keyed_->Update(bytes);
  } else {
    CHECK(XXH3_128bits_update(plain_.get(), bytes.data(), bytes.size()) == XXH_OK);
  }
}

std::string FileDigest::Value() const {
  if (keyed_) {
    const Hmac::Value value = Hmac(*keyed_).Finish();
    return {reinterpret_cast<const char*>(value.data()), value.size()};
  }
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(plain_.get()));
  return {reinterpret_cast<const char*>(canonical.digest), sizeof canonical.digest};
}

std::array<std::byte, 16> Digest(const SourceIdentity& source) {
  const std::string text = fmt::format("{} {} {} {} {}", source.device, source.inode, source.size,
                                       source.mtime_ns, source.machine);
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(text.data(), text.size()));
  std::array<std::byte, 16> digest;
  static_assert(sizeof canonical.digest == sizeof digest);
  std::memcpy(digest.data(), canonical.digest, digest.size());
  return digest;
}

}  // namespace ds::udp_transfer
