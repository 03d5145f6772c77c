#include "ipc_proxy_cache/core/continuation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace ds::ipc_proxy_cache {
namespace {

using ::testing::ElementsAre;

constexpr const char* kDate = "Sun, 06 Nov 1994 08:49:37 GMT";
constexpr std::int64_t kDate_unix_s = 784111777;

std::string Encoded(const StoredFieldsView& fields) { return EncodeStoredFields(fields).value(); }

/// Of 10 bytes, from byte 5 on.
std::optional<Continuation> Rest(const StoredFieldsView& fields) {
  return Continuation::Of(Encoded(fields), 5, 10);
}

TEST(ContinuationTest, TheRequestNamesTheRangeAndTheVersion) {
  EXPECT_THAT(Rest({.status = 200, .etag = "\"1\""}).value().RequestFields(),
              ElementsAre("Range: bytes=5-", "If-Range: \"1\""));
  EXPECT_THAT(Rest({.status = 200, .date_unix_s = kDate_unix_s + 1, .last_modified = kDate})
                  .value()
                  .RequestFields(),
              ElementsAre("Range: bytes=5-", std::string("If-Range: ") + kDate));
}

TEST(ContinuationTest, WithoutAStrongValidatorThereIsNone) {
  EXPECT_FALSE(Rest({.status = 200}));
  EXPECT_FALSE(Rest({.status = 200, .etag = "W/\"1\""}));
  EXPECT_FALSE(Rest({.status = 200, .date_unix_s = kDate_unix_s, .last_modified = kDate}));
  EXPECT_FALSE(Rest({.status = 200, .etag = "\"1\"\r\nA: b"}));
  EXPECT_FALSE(Continuation::Of("no block", 5, 10));
}

TEST(ContinuationTest, OnlyA206OfTheVersionThatBeginsThereIsTheRest) {
  const HttpField etag{"ETag", "\"1\""};
  const HttpField range{"content-range", "bytes 5-9/10"};
  const struct {
    const char* what;
    int status;
    std::vector<HttpField> fields;
    bool is_rest;
  } cases[] = {
      {"the rest", 206, {etag, range}, true},
      {"a part of the rest", 206, {etag, {"Content-Range", "bytes 5-6/10"}}, true},
      {"the whole", 200, {etag, range}, false},
      {"no such range", 416, {etag, range}, false},
      {"no version", 206, {range}, false},
      {"another version", 206, {{"ETag", "\"2\""}, range}, false},
      {"a weak version", 206, {{"ETag", "W/\"1\""}, range}, false},
      {"a version by its date", 206, {{"Last-Modified", "\"1\""}, range}, false},
      {"no range", 206, {etag}, false},
      {"from elsewhere", 206, {etag, {"Content-Range", "bytes 4-9/10"}}, false},
      {"of another length", 206, {etag, {"Content-Range", "bytes 5-9/11"}}, false},
      {"of no length", 206, {etag, {"Content-Range", "bytes 5-9/*"}}, false},
      {"unsatisfied", 206, {etag, {"Content-Range", "bytes */10"}}, false},
      {"no unit", 206, {etag, {"Content-Range", "5-9/10"}}, false},
      {"another unit", 206, {etag, {"Content-Range", "lines 5-9/10"}}, false},
      {"no end", 206, {etag, {"Content-Range", "bytes 5"}}, false},
      {"signs", 206, {etag, {"Content-Range", "bytes +5-9/10"}}, false},
      {"beyond 64 bit", 206, {etag, {"Content-Range", "bytes 18446744073709551621-9/10"}}, false},
      {"empty", 206, {etag, {"Content-Range", ""}}, false},
  };
  const Continuation rest = Rest({.status = 200, .etag = "\"1\""}).value();
  for (const auto& [what, status, fields, is_rest] : cases) {
    EXPECT_EQ(rest.IsAnsweredBy(status, fields), is_rest) << what;
  }
}

TEST(ContinuationTest, ADateNamesTheVersionToo) {
  const Continuation rest =
      Rest({.status = 200, .date_unix_s = kDate_unix_s + 1, .last_modified = kDate}).value();
  const HttpField range{"Content-Range", "bytes 5-9/10"};
  EXPECT_TRUE(rest.IsAnsweredBy(206, std::vector<HttpField>{{"Last-Modified", kDate}, range}));
  EXPECT_FALSE(rest.IsAnsweredBy(206, std::vector<HttpField>{{"ETag", kDate}, range}));
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
