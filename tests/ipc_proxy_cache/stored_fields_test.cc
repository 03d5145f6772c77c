#include "ipc_proxy_cache/core/stored_fields.h"

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ds::ipc_proxy_cache {
namespace {

constexpr std::int64_t kNow = 784111777;

const StoredFields kFields{.status = 404,
                           .date_unix_s = kNow,
                           .content_type = "text/html; charset=utf-8",
                           .etag = "W/\"x\"",
                           .last_modified = "Sun, 06 Nov 1994 08:49:37 GMT",
                           .further = "Cache-Control: max-age=60\r\nX-Empty: \r\n"};

TEST(StoredFields, AreReadAsTheyWereWritten) {
  for (const StoredFields& fields : {kFields, StoredFields{}}) {
    const auto bytes = EncodeStoredFields(View(fields));
    ASSERT_TRUE(bytes);
    const auto read = DecodeStoredFields(*bytes);
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, View(fields));
  }
}

TEST(StoredFields, AreLaidOutAsDocumented) {
  const StoredFields fields{.status = 0x0194,
                            .date_unix_s = 0x0102030405060708,
                            .content_type = "t",
                            .etag = "",
                            .last_modified = "mm",
                            .further = "f"};
  const std::string_view expected(
      "\x01\x00\x94\x01\x08\x07\x06\x05\x04\x03\x02\x01\x01\x00\x00\x00\x02\x00\x01\x00tmmf", 24);
  EXPECT_EQ(EncodeStoredFields(View(fields)), expected);
}

TEST(StoredFields, WhatIsNotExactlyOneBlockIsRefused) {
  const std::string whole = *EncodeStoredFields(View(kFields));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(DecodeStoredFields(std::string_view(whole).substr(0, length))) << length;
  }
  EXPECT_FALSE(DecodeStoredFields(whole + "x"));
  std::string changed = whole;
  changed[0] = 2;
  EXPECT_FALSE(DecodeStoredFields(changed)) << "another version";
  changed = whole;
  changed[1] = 1;
  EXPECT_FALSE(DecodeStoredFields(changed)) << "not zero";
  for (const std::size_t at : {13U, 15U, 17U, 19U}) {
    changed = whole;
    changed[at] = '\x7f';
    EXPECT_FALSE(DecodeStoredFields(changed)) << "a length beyond the end";
  }
}

TEST(StoredFields, ABlockHasAtMost8192Bytes) {
  StoredFields fields{.further = std::string(kStoredFieldsBytesMax - 20, 'x')};
  EXPECT_EQ(EncodeStoredFields(View(fields))->size(), kStoredFieldsBytesMax);
  fields.etag = "x";
  EXPECT_FALSE(EncodeStoredFields(View(fields)));
  fields.further = std::string(70000, 'x');
  EXPECT_FALSE(EncodeStoredFields(View(fields)));
  EXPECT_FALSE(DecodeStoredFields(std::string(kStoredFieldsBytesMax + 1, '\1')));
}

TEST(StoredFields, WhatCouldNotStandInAnAnswerIsInvalid) {
  EXPECT_TRUE(ValidateStoredFields(View(kFields)).ok());
  EXPECT_TRUE(ValidateStoredFields({}).ok());
  const auto valid = [](auto change) {
    StoredFields fields = kFields;
    change(&fields);
    return ValidateStoredFields(View(fields)).ok();
  };
  EXPECT_FALSE(valid([](StoredFields* f) { f->status = 99; }));
  EXPECT_FALSE(valid([](StoredFields* f) { f->status = 600; }));
  EXPECT_FALSE(valid([](StoredFields* f) { f->date_unix_s = -1; }));
  EXPECT_FALSE(valid([](StoredFields* f) { f->date_unix_s = 253402300800; }));
  EXPECT_FALSE(valid([](StoredFields* f) { f->content_type = "a\r\nX: y"; }));
  EXPECT_FALSE(valid([](StoredFields* f) { f->last_modified = "a\nb"; }));
  for (const std::string_view etag :
       {"x", "\"x", "x\"", "w/\"x\"", "\"a\"b\"", "\"a b\"", "W/", "\"", "\"a\r\n\""}) {
    EXPECT_FALSE(valid([&](StoredFields* f) { f->etag = etag; })) << etag;
  }
  for (const std::string_view lines :
       {"X: y", "X: y\r", "X: y\n", "X: y\r\nZ", "X: y\r\n\r\n", "\r\n", "X:y\r\n", "X : y\r\n",
        ": y\r\n", "X: a\nb\r\n", "X: a\rb\r\n"}) {
    EXPECT_FALSE(valid([&](StoredFields* f) { f->further = lines; })) << lines;
  }
}

/// RFC 9111 section 3.1.
TEST(KeepFields, LeavesOutWhatConcernsOneConnectionOrOneTransfer) {
  const std::vector<HttpField> fields = {{"Server", "nginx"},
                                         {"Date", "Sun, 06 Nov 1994 08:49:37 GMT"},
                                         {"content-type", " text/plain "},
                                         {"Content-Type", "text/html"},
                                         {"Content-Length", "5"},
                                         {"Connection", "X-Hop, close"},
                                         {"x-hop", "1"},
                                         {"Transfer-Encoding", "chunked"},
                                         {"Set-Cookie", "a=b"},
                                         {"Age", "5"},
                                         {"Cache-Control", "max-age=5"},
                                         {"Cache-Control", "public"},
                                         {"Bad Name", "1"},
                                         {"X-Bad", "a\r\nb"},
                                         {"ETag", "unquoted"},
                                         {"Last-Modified", "yesterday"},
                                         {"Content-Encoding", "gzip"}};
  const StoredFields kept = KeepFields(200, 5, fields);
  EXPECT_EQ(kept.date_unix_s, kNow);
  EXPECT_EQ(kept.content_type, "text/plain");
  EXPECT_EQ(kept.etag, "");
  EXPECT_EQ(kept.last_modified, "yesterday");
  EXPECT_EQ(kept.further,
            "Cache-Control: max-age=5\r\nCache-Control: public\r\nContent-Encoding: gzip\r\n");
  EXPECT_TRUE(ValidateStoredFields(View(kept)).ok());
}

TEST(KeepFields, WithoutADateTheMomentOfReceiptCounts) {
  EXPECT_EQ(KeepFields(200, kNow, {}).date_unix_s, kNow);
  const std::vector<HttpField> bad = {{"Date", "infinite-future"}};
  EXPECT_EQ(KeepFields(200, kNow, bad).date_unix_s, kNow);
  EXPECT_EQ(KeepFields(200, INT64_MIN, {}).date_unix_s, 0);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
