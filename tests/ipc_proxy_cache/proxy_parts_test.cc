#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "ipc_proxy_cache/proxy/collected_body.h"
#include "ipc_proxy_cache/proxy/known_names.h"
#include "ipc_proxy_cache/proxy/origin_answer.h"
#include "ipc_proxy_cache/proxy/origin_url.h"
#include "tests/harness/temp_dir.h"

namespace ds::ipc_proxy_cache {
namespace {

TEST(OriginUrlTest, OneOriginHasOneForm) {
  const struct {
    const char* given;
    const char* text;
  } cases[] = {
      {"example.org", "http://example.org"},
      {"localhost:8080", "http://localhost:8080"},
      {"HTTP://Example.ORG:80/", "http://example.org"},
      {"https://example.org:443/Base//", "https://example.org/Base"},
      {"https://example.org:80", "https://example.org:80"},
      {"http://[::1]:81/a", "http://[::1]:81/a"},
      {"http://h/a:///b", "http://h/a:///b"},
  };
  for (const auto& [given, text] : cases) {
    const auto url = OriginUrl::Parse(given);
    ASSERT_TRUE(url.ok()) << url.status();
    EXPECT_EQ(url->text(), text) << given;
  }
}

TEST(OriginUrlTest, WhatIsNoOriginIsRefused) {
  for (const char* const text :
       {"", "ftp://example.org", "file:///etc", "http://", "http:///x", "/x",
        "http://user:word@example.org", "http://example.org/?a", "http://example.org/#a",
        "http://exa mple.org", "http://a:99999"}) {
    EXPECT_EQ(OriginUrl::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(OriginUrlTest, PathsAreEncodedAndStayBelowTheOrigin) {
  const OriginUrl url = OriginUrl::Parse("h/base").value();
  EXPECT_EQ(url.Of("/a/b", ""), "http://h/base/a/b");
  EXPECT_EQ(url.Of("/", ""), "http://h/base/");
  EXPECT_EQ(url.Of("/a b%?#\xff", ""), "http://h/base/a%20b%25%3F%23%FF");
  EXPECT_EQ(url.Of("/a", "?b=c&d=%20"), "http://h/base/a?b=c&d=%20");
  EXPECT_EQ(url.Of("/a", "?b c#d\r\n"), "http://h/base/a?b%20c%23d%0D%0A");
  EXPECT_EQ(url.Of("/../../a", ""), "http://h/base/a");
  EXPECT_EQ(url.Of("/a/./b/../c", ""), "http://h/base/a/c");
  EXPECT_EQ(url.Of("/a/..", ""), "http://h/base/");
  EXPECT_EQ(url.Of("/a/b/.", ""), "http://h/base/a/b/");
  EXPECT_EQ(url.Of("/a//b/", ""), "http://h/base/a//b/");
}

TEST(OriginAnswerTest, LinesThatAreNoFieldsAreLeftOut) {
  const auto fields = FieldsOf("A: 1\r\nno field\r\nB:2\n: 3\r\nC : 4\r\n");
  ASSERT_EQ(fields.size(), 2U);
  EXPECT_EQ(fields[0].name, "A");
  EXPECT_EQ(fields[1].value, "2");
}

TEST(OriginAnswerTest, ALengthCountsUnlessThereIsATransferEncoding) {
  EXPECT_EQ(LengthOf(FieldsOf("content-length: 12\r\n")), 12U);
  EXPECT_EQ(LengthOf(FieldsOf("Content-Length: -1\r\n")), std::nullopt);
  EXPECT_EQ(LengthOf(FieldsOf("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")),
            std::nullopt);
  EXPECT_EQ(LengthOf({}), std::nullopt);
}

TEST(KnownNamesTest, NamesAreKeptUpToANumber) {
  KnownNames<int> names(2, 1000);
  names.Keep("a", 1, 10);
  names.Keep("b", 2, 10);
  names.Keep("b", 3, 10);
  EXPECT_EQ(*names.Find("a"), 1);
  EXPECT_EQ(*names.Find("b"), 3);
  names.Keep("c", 4, 10);
  EXPECT_EQ(names.size(), 1U);
  EXPECT_EQ(names.Find("a"), nullptr);
  EXPECT_EQ(*names.Find("c"), 4);
}

TEST(KnownNamesTest, LongNamesAreKeptUpToTheirBytes) {
  KnownNames<int> names(1000, 100);
  const std::string half(40, 'a');
  names.Keep(half, 1, 10);
  names.Keep(half + "b", 2, 9);
  EXPECT_EQ(names.bytes(), 100U);
  EXPECT_EQ(names.size(), 2U);
  names.Keep("c", 3, 0);
  EXPECT_EQ(names.bytes(), 1U);
  EXPECT_EQ(names.Find(half), nullptr);
  EXPECT_EQ(*names.Find("c"), 3);
  names.Keep(std::string(101, 'd'), 4, 0);
  EXPECT_EQ(names.size(), 1U) << "nothing is forgotten for what is too long by itself";
}

TEST(KnownNamesTest, WhatIsForgottenTakesNothing) {
  KnownNames<int> names(10, 100);
  for (int i = 0; i < 5; ++i) names.Keep(std::to_string(i), i, 19);
  names.Keep("0", 7, 19);
  EXPECT_EQ(names.bytes(), 100U);
  names.Forget("1");
  names.Forget("1");
  EXPECT_EQ(names.bytes(), 80U);
  names.ForgetIf([](int known) { return known > 2; });
  EXPECT_EQ(names.bytes(), 20U);
  EXPECT_EQ(*names.Find("2"), 2);
  names.Clear();
  EXPECT_EQ(names.bytes(), 0U);
  EXPECT_EQ(names.size(), 0U);
}

TEST(CollectedBodyTest, BytesBeyondTheLimitGoToAFileWithoutAName) {
  const testing::TempDir folder;
  for (const std::uint64_t memory_max : {0U, 3U, 4U, 5U, 9U, 100U}) {
    CollectedBody body({.memory_max = memory_max, .folder = folder.path()});
    ASSERT_TRUE(body.Append("0123").ok());
    ASSERT_TRUE(body.Append("45678").ok());
    EXPECT_EQ(body.size(), 9U);
    EXPECT_EQ(body.Read(0, 100), "012345678") << memory_max;
    EXPECT_EQ(body.Read(3, 3), "345") << memory_max;
    EXPECT_EQ(body.Read(9, 1), "");
  }
}

TEST(CollectedBodyTest, MoreThanTheLimitIsAnErrorInMemoryAndInAFile) {
  const testing::TempDir folder;
  for (const std::uint64_t memory_max : {0U, 100U}) {
    CollectedBody body({.memory_max = memory_max, .bytes_max = 9, .folder = folder.path()});
    EXPECT_TRUE(body.Append("0123").ok());
    EXPECT_TRUE(body.Append("45678").ok());
    const absl::Status status = body.Append("9");
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << memory_max;
    EXPECT_EQ(body.size(), 9U);
    EXPECT_EQ(body.Read(0, 100), "012345678");
  }
}

TEST(CollectedBodyTest, AFolderThatIsNotThereIsAnError) {
  CollectedBody body({.memory_max = 2, .folder = "/does/not/exist"});
  EXPECT_TRUE(body.Append("ab").ok());
  EXPECT_FALSE(body.Append("c").ok());
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
