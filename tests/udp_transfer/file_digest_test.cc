#include "udp_transfer/seal/file_digest.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "common/base/parse.h"
#include "common/base/rng.h"
#include "tests/udp_transfer/hex.h"

namespace ds::udp_transfer {
namespace {

std::string Of(FileDigest digest, std::string_view bytes) {
  digest.Update(AsBytes(bytes));
  return ToHex(digest.Value());
}

DigestKey Key(char fill) {
  std::array<std::byte, 32> key;
  key.fill(static_cast<std::byte>(fill));
  return key;
}

TEST(FileDigestTest, IsXxh3Of128BitsInCanonicalForm) {
  // From xxhsum -H2 (xxHash 0.8.1).
  EXPECT_EQ(Of(FileDigest(DigestKey()), ""), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(Of(FileDigest(DigestKey()), "abc"), "06b05ab6733a618578af5f94892f3950");
}

TEST(FileDigestTest, WithAKeyIsHmacSha256) {
  std::array<std::byte, 32> key{};
  for (std::size_t i = 0; i < 20; ++i) key[i] = std::byte{0x0b};  // RFC 4231: zeros change nothing
  EXPECT_EQ(Of(FileDigest(key), "Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
}

TEST(FileDigestTest, DoesNotDependOnHowTheBytesAreCutNorOnLooksInBetween) {
  Rng rng(1);
  std::string bytes(100'000, '\0');
  for (char& c : bytes) c = static_cast<char>(rng.Next());
  for (const auto& key : {Key('k'), DigestKey()}) {
    const std::string whole = Of(FileDigest(key), bytes);
    FileDigest digest(key);
    for (std::string_view rest = bytes; !rest.empty();) {
      const auto piece = rest.substr(0, 1 + rng.Below(5000));
      digest.Update(AsBytes(piece));
      rest.remove_prefix(piece.size());
      const std::size_t done = bytes.size() - rest.size();
      if (rng.Bernoulli(0.1)) {
        EXPECT_EQ(ToHex(digest.Value()), Of(FileDigest(key), bytes.substr(0, done)));
      }
    }
    EXPECT_EQ(ToHex(digest.Value()), whole);
  }
}

TEST(FileDigestTest, EveryKeyGivesAnother) {
  EXPECT_EQ(std::set({Of(FileDigest(DigestKey()), "x"), Of(FileDigest(Key('a')), "x"),
                      Of(FileDigest(Key('b')), "x")})
                .size(),
            3U);
}

TEST(SourceIdentityTest, EveryFieldCounts) {
  std::set<std::string> all;
  for (const SourceIdentity& source :
       {SourceIdentity{1, 2, 3, 4, "host"}, SourceIdentity{9, 2, 3, 4, "host"},
        SourceIdentity{1, 9, 3, 4, "host"}, SourceIdentity{1, 2, 9, 4, "host"},
        SourceIdentity{1, 2, 3, -4, "host"}, SourceIdentity{1, 2, 3, 4, "hos"}}) {
    EXPECT_EQ(Digest(source), Digest(source));
    all.insert(Hex(Digest(source)));
  }
  EXPECT_EQ(all.size(), 6U);
}

}  // namespace
}  // namespace ds::udp_transfer
