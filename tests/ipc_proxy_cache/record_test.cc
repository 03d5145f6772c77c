#include "ipc_proxy_cache/shm/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <limits>
#include <string>

namespace ds::ipc_proxy_cache {
namespace {

using ::testing::HasSubstr;

struct alignas(64) Memory {
  std::array<std::byte, 4096> bytes{};
};

constexpr RecordContent kContent{.hash = {.low = 11, .high = 12},
                                 .key = "http://origin/path",
                                 .fields = "type=text/plain",
                                 .body_offset = 1024,
                                 .body_bytes = 100,
                                 .filled = 0};

TEST(RecordTest, WhatIsWrittenIsRead) {
  Memory memory;
  WriteRecord(memory.bytes, 128, kContent);
  const auto record = Record::Read(memory.bytes, 128);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->key(), kContent.key);
  EXPECT_EQ(record->fields(), kContent.fields);
  EXPECT_EQ(record->hash(), kContent.hash);
  EXPECT_EQ(record->body_offset(), 1024U);
  EXPECT_EQ(record->body_bytes(), 100U);
  EXPECT_EQ(record->Filled(), 0U);
  EXPECT_TRUE(record->Body().empty());
}

TEST(RecordTest, BytesLieWhereTheDocumentSays) {
  Memory memory;
  WriteRecord(memory.bytes, 64, kContent);
  const std::byte* const at = memory.bytes.data() + 64;
  EXPECT_EQ(std::memcmp(at, "DSGFREC1", 8), 0);
  const auto word = [&](std::size_t offset) {
    std::uint64_t value = 0;
    std::memcpy(&value, at + offset, sizeof value);
    return value;
  };
  EXPECT_EQ(word(8), 18 | std::uint64_t{15} << 32U);
  EXPECT_EQ(word(16), 1024U);
  EXPECT_EQ(word(24), 100U);
  EXPECT_EQ(word(32), 11U);
  EXPECT_EQ(word(40), 12U);
  EXPECT_EQ(word(48), 0U);
  EXPECT_EQ(word(56), 0U);
  EXPECT_EQ(std::memcmp(at + 64, "http://origin/pathtype=text/plain", 33), 0);
  EXPECT_EQ(RecordBytes(18, 15), 128U);
  EXPECT_EQ(RecordBytes(0, 0), 64U);
  EXPECT_EQ(RecordBytes(64, 0), 128U);
  EXPECT_EQ(RecordBytes(64, 1), 192U);
}

TEST(RecordTest, BodyGrowsAsItIsFilled) {
  Memory memory;
  WriteRecord(memory.bytes, 0, kContent);
  const auto record = Record::Read(memory.bytes, 0);
  ASSERT_TRUE(record.ok()) << record.status();
  memory.bytes[1024 + 9] = std::byte{5};
  RaiseFilled(memory.bytes, 0, 10);
  EXPECT_EQ(record->Body().size(), 10U);
  EXPECT_EQ(record->Body()[9], std::byte{5});
  RaiseFilled(memory.bytes, 0, 100);
  EXPECT_EQ(record->Filled(), record->body_bytes());
  EXPECT_DEATH(RaiseFilled(memory.bytes, 0, 99), "filled");
  EXPECT_DEATH(RaiseFilled(memory.bytes, 0, 101), "filled");
  EXPECT_DEATH(RaiseFilled(memory.bytes, 64, 1), "kMagic");
}

TEST(RecordTest, NegativeAnswerHasNoBody) {
  Memory memory;
  RecordContent negative = kContent;
  negative.body_offset = 0;
  negative.body_bytes = 0;
  WriteRecord(memory.bytes, 4096 - 128, negative);
  const auto record = Record::Read(memory.bytes, 4096 - 128);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->fields(), kContent.fields);
  EXPECT_TRUE(record->Body().empty());
}

TEST(RecordTest, PlacesThatDoNotFitAreTheWritersMistake) {
  Memory memory;
  EXPECT_DEATH(WriteRecord(memory.bytes, 32, kContent), "offset");
  EXPECT_DEATH(WriteRecord(memory.bytes, 4096 - 64, kContent), "Within");
  EXPECT_DEATH(WriteRecord(memory.bytes, 1024, kContent), "Overlap");
  RecordContent content = kContent;
  content.body_offset = 4000;
  EXPECT_DEATH(WriteRecord(memory.bytes, 0, content), "Within");
  content = kContent;
  content.filled = 101;
  EXPECT_DEATH(WriteRecord(memory.bytes, 0, content), "filled");
}

TEST(RecordTest, WhatDoesNotLieWithinTheMemoryIsRefused) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  struct Case {
    const char* what;
    void (*spoil)(RecordHeader&);
    const char* why;
  };
  const Case cases[] = {
      {"magic", [](RecordHeader& h) { h.magic = 0; }, "magic"},
      {"key beyond the end", [](RecordHeader& h) { h.key_bytes = 4096; }, "beyond"},
      {"largest key", [](RecordHeader& h) { h.key_bytes = UINT32_MAX; }, "beyond"},
      {"largest fields", [](RecordHeader& h) { h.fields_bytes = UINT32_MAX; }, "beyond"},
      {"body begins beyond", [](RecordHeader& h) { h.body_offset = 4097; }, "body"},
      {"body ends beyond", [](RecordHeader& h) { h.body_bytes = 3073; }, "body"},
      {"body wraps around", [](RecordHeader& h) { h.body_bytes = kMax; }, "body"},
      {"offset wraps around", [](RecordHeader& h) { h.body_offset = kMax - 10; }, "body"},
      {"body in the record", [](RecordHeader& h) { h.body_offset = 64; }, "lies in it"},
      {"body around the record",
       [](RecordHeader& h) {
         h.body_offset = 0;
         h.body_bytes = 4096;
       },
       "lies in it"},
  };
  for (const Case& c : cases) {
    Memory memory;
    WriteRecord(memory.bytes, 0, kContent);
    c.spoil(*reinterpret_cast<RecordHeader*>(memory.bytes.data()));
    const auto record = Record::Read(memory.bytes, 0);
    EXPECT_EQ(record.status().code(), absl::StatusCode::kInvalidArgument) << c.what;
    EXPECT_THAT(Message(record.status()), HasSubstr(c.why)) << c.what;
  }
  Memory memory;
  WriteRecord(memory.bytes, 0, kContent);
  for (const std::uint64_t offset : {std::uint64_t{1}, std::uint64_t{4096}, kMax, kMax - 63}) {
    EXPECT_FALSE(Record::Read(memory.bytes, offset).ok()) << offset;
  }
  EXPECT_FALSE(Record::Read(std::span(memory.bytes).first(63), 0).ok());
  EXPECT_FALSE(Record::Read({}, 0).ok());
}

TEST(RecordTest, FilledBeyondTheBodyIsNotBelieved) {
  Memory memory;
  WriteRecord(memory.bytes, 0, kContent);
  reinterpret_cast<RecordHeader*>(memory.bytes.data())->filled = 5000;
  EXPECT_EQ(Record::Read(memory.bytes, 0)->Body().size(), 100U);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
