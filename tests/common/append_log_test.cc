#include "common/fs/append_log.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/big_endian.h"
#include "common/fs/crc32c.h"
#include "common/fs/rooted_disk.h"
#include "tests/harness/temp_dir.h"
#include "tests/sim/sim_disk.h"

namespace ds::fs {
namespace {

using ::ds::sim::SimDisk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::uint64_t kSalt = 0x5a17;
constexpr const char* kFirst = "log/00000000000000000001.log";

/// A group's bytes, as the header of the class has them.
std::string GroupBytes(std::uint32_t seed, std::uint64_t offset, std::uint64_t number,
                       std::uint32_t count, const std::string& records) {
  std::string header;
  AppendU32(&header, Crc32c(records, seed));
  AppendU64(&header, records.size());
  AppendU64(&header, number);
  AppendU64(&header, offset);
  AppendU32(&header, count);
  std::string bytes;
  AppendU32(&bytes, Crc32c(header, seed));
  return bytes + header + records;
}
std::string RecordBytes(std::uint8_t type, std::string_view payload) {
  std::string bytes;
  AppendU32(&bytes, static_cast<std::uint32_t>(payload.size()));
  AppendU8(&bytes, type);
  return bytes.append(payload);
}
std::string SegmentHeader(std::uint64_t first, std::uint64_t salt, std::uint32_t version = 1) {
  std::string bytes = "DSAPPLOG";
  AppendU32(&bytes, version);
  AppendU64(&bytes, first);
  AppendU64(&bytes, salt);
  AppendU32(&bytes, Crc32c(bytes));
  return bytes;
}
std::uint32_t SeedOf(const std::string& segment) { return Crc32c(segment.substr(0, 28)); }

class AppendLogTest : public ::testing::Test {
 protected:
  AppendLogTest() { options_.salt = kSalt; }

  absl::Status TryOpen() {
    log_.reset();
    records_.clear();
    auto log = AppendLog::Open(disk_, "log", options_, [this](const AppendLog::Record& record) {
      EXPECT_EQ(record.number, (records_.empty() ? first_ : last_ + 1));
      last_ = record.number;
      records_.push_back(fmt::format("{}:{}", record.type, record.payload));
      return absl::OkStatus();
    });
    if (!log.ok()) return log.status();
    log_ = std::move(*log);
    return absl::OkStatus();
  }
  std::vector<std::string> Open() {
    const absl::Status status = TryOpen();
    EXPECT_TRUE(status.ok()) << status;
    return records_;
  }
  void Append(const std::vector<std::string>& payloads) {
    for (const std::string& payload : payloads) log_->Append(1, {payload});
    const absl::Status status = log_->Sync();
    ASSERT_TRUE(status.ok()) << status;
  }
  std::string Read(const std::string& name = kFirst) { return disk_.Read(name).value_or(""); }
  void Put(const std::string& name, const std::string& content) {
    auto file = disk_.OpenFile(name, Disk::Open::kEmpty);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->WriteAt(0, std::as_bytes(std::span(content))).ok());
  }
  std::vector<std::string> Segments() {
    std::vector<std::string> names;
    for (const std::string& name : disk_.Names()) {
      if (name.ends_with(".log")) names.push_back(name);
    }
    return names;
  }

  SimDisk disk_;
  AppendLog::Options options_;
  std::unique_ptr<AppendLog> log_;
  std::vector<std::string> records_;
  std::uint64_t first_ = 1;
  std::uint64_t last_ = 0;
};

TEST_F(AppendLogTest, RecordsAreFoundAgainInTheirOrder) {
  EXPECT_THAT(Open(), IsEmpty());
  EXPECT_TRUE(log_->StartsSegment());
  log_->Append(3, {"a", "", "bc"});
  log_->Append(255, {});
  EXPECT_EQ(log_->next_number(), 3U);
  ASSERT_TRUE(log_->Sync().ok());
  EXPECT_FALSE(log_->StartsSegment());
  Append({std::string("\0", 1)});
  EXPECT_THAT(Open(), ElementsAre("3:abc", "255:", std::string("1:\0", 3)));
  EXPECT_EQ(log_->next_number(), 4U);
  EXPECT_EQ(log_->last_segment(), 1U);
  EXPECT_EQ(log_->recovery().torn_bytes, 0U);
}

TEST_F(AppendLogTest, BytesAreThoseOfTheFormat) {
  Open();
  log_->Append(3, {"ab", "c"});
  log_->Append(4, {""});
  ASSERT_TRUE(log_->Sync().ok());
  Append({"x"});
  const std::string header = SegmentHeader(1, kSalt);
  const std::uint32_t seed = SeedOf(header);
  const std::string group = GroupBytes(seed, 32, 1, 2, RecordBytes(3, "abc") + RecordBytes(4, ""));
  EXPECT_EQ(Read(),
            header + group + GroupBytes(seed, 32 + group.size(), 3, 1, RecordBytes(1, "x")));
}

TEST_F(AppendLogTest, AGroupIsOneWriteAndOneSync) {
  Open();
  Append({"first"});
  std::vector<std::string> operations;
  disk_.fault = [&](const std::string& operation, const std::string&) {
    operations.push_back(operation);
    return absl::OkStatus();
  };
  Append(std::vector<std::string>(100, "record"));
  EXPECT_THAT(operations, ElementsAre("write", "sync"));
  ASSERT_TRUE(log_->Sync().ok());  // without records: nothing
  EXPECT_EQ(operations.size(), 2U);
}

TEST_F(AppendLogTest, ANewSegmentIsSyncedWithItsFirstGroup) {
  options_.segment_bytes = 1;
  Open();
  std::vector<std::string> operations;
  disk_.fault = [&](const std::string& operation, const std::string&) {
    operations.push_back(operation);
    return absl::OkStatus();
  };
  Append({"a"});
  EXPECT_THAT(operations, ElementsAre("create", "write", "sync", "write", "sync", "sync folder"));
  operations.clear();
  Append({"b"});
  EXPECT_THAT(operations, ElementsAre("create", "write", "write", "sync", "sync folder"));
}

TEST_F(AppendLogTest, ASegmentThatIsTornWithItsFirstGroupIsRemoved) {
  options_.segment_bytes = 1;
  Open();
  Append({"a"});
  Append({std::string(1000, 'b'), "c"});
  const std::string name = Segments().back();
  const std::string good = Read(name);
  options_.segment_bytes = 10'000;
  Open();
  Append({"d"});
  const std::string two_groups = Read(name);
  // Its first bytes are missing, with more of it or less.
  for (std::size_t hole = 1; hole < good.size(); hole += 13) {
    for (const std::size_t size : {hole, hole + 1, (hole + good.size()) / 2, good.size()}) {
      std::string torn = good.substr(0, size);
      for (std::size_t i = 0; i < std::min(hole, size); ++i) torn[i] = 0;
      Put(name, torn);
      ASSERT_THAT(Open(), ElementsAre("1:a")) << hole << " " << size;
      ASSERT_EQ(log_->recovery().removed_files, 1U);
      ASSERT_THAT(Segments(), ElementsAre(kFirst));
      // With a second group behind, the first one was durable.
      std::string damaged = two_groups;
      for (std::size_t i = 0; i < std::min(hole, size); ++i) damaged[i] = 0;
      Put(name, damaged);
      const absl::Status status = TryOpen();
      ASSERT_TRUE(absl::IsDataLoss(status)) << hole << " " << status;
      ASSERT_THAT(Message(status), HasSubstr(name));
      ASSERT_EQ(Read(name), damaged);
    }
  }
  Put(name, two_groups);
  EXPECT_EQ(Open().size(), 4U);
}

TEST_F(AppendLogTest, WhatWasNotSyncedIsNotThere) {
  Open();
  Append({"a"});
  log_->Append(1, {"b"});
  EXPECT_THAT(Open(), ElementsAre("1:a"));
}

TEST_F(AppendLogTest, LargeRecordsAndGroupsAreKept) {
  Open();
  const std::string large(5'000'000, 'x');
  Append({large, "", large});
  Append({"end"});
  EXPECT_THAT(Open(), ElementsAre("1:" + large, "1:", "1:" + large, "1:end"));
}

TEST_F(AppendLogTest, SegmentsRollOver) {
  options_.segment_bytes = 100;
  Open();
  for (int i = 0; i < 10; ++i) {
    const bool starts = log_->StartsSegment();
    const std::size_t before = Segments().size();
    Append({fmt::format("record {}", i)});
    EXPECT_EQ(Segments().size(), before + (starts ? 1 : 0));
  }
  EXPECT_THAT(Segments(),
              ElementsAre(kFirst, "log/00000000000000000003.log", "log/00000000000000000005.log",
                          "log/00000000000000000007.log", "log/00000000000000000009.log"));
  EXPECT_EQ(log_->last_segment(), 9U);
  EXPECT_EQ(Open().size(), 10U);
  // The salt of a log stays what it was.
  options_.salt = 1;
  Open();
  Append({"x"});
  EXPECT_EQ(Segments().size(), 6U);
  EXPECT_EQ(Read(Segments().back()).substr(20, 8), Read().substr(20, 8));
  EXPECT_EQ(Open().size(), 11U);
}

TEST_F(AppendLogTest, OldSegmentsAreRemovedFromTheFront) {
  options_.segment_bytes = 100;
  Open();
  for (int i = 1; i <= 10; ++i) Append({fmt::format("record {}", i)});
  ASSERT_TRUE(log_->RemoveBefore(4).ok());
  EXPECT_EQ(Segments().front(), "log/00000000000000000003.log");
  first_ = 3;
  EXPECT_EQ(Open().size(), 8U);
  // The last one stays.
  ASSERT_TRUE(log_->RemoveBefore(1000).ok());
  EXPECT_THAT(Segments(), ElementsAre("log/00000000000000000009.log"));
  first_ = 9;
  EXPECT_THAT(Open(), ElementsAre("1:record 9", "1:record 10"));
  EXPECT_EQ(log_->next_number(), 11U);
}

TEST_F(AppendLogTest, ATornGroupIsCutOffWhateverIsThereOfIt) {
  Open();
  Append({"a", "b"});
  const std::string whole = Read();
  Append({std::string(2000, 'c'), "d", std::string(100, 'e')});
  const std::string written = Read();
  // Cut short anywhere, as long as it was but with zeros, or with holes.
  for (std::size_t size = whole.size(); size < written.size(); ++size) {
    for (const bool zeros : {false, true}) {
      std::string torn = written.substr(0, size);
      if (zeros) torn.resize(written.size(), '\0');
      Put(kFirst, torn);
      ASSERT_THAT(Open(), ElementsAre("1:a", "1:b")) << size;
      ASSERT_EQ(log_->recovery().torn_bytes, torn.size() - whole.size());
      ASSERT_EQ(Read(), whole);
    }
  }
  for (std::size_t hole = whole.size(); hole < written.size(); hole += 64) {
    std::string torn = written;
    for (std::size_t i = hole; i < std::min(hole + 64, torn.size()); ++i) torn[i] = 0;
    Put(kFirst, torn);
    ASSERT_THAT(Open(), ElementsAre("1:a", "1:b")) << hole;
    Append({"again"});
    ASSERT_THAT(Open(), ElementsAre("1:a", "1:b", "1:again"));
  }
}

TEST_F(AppendLogTest, EveryByteOfWhatWasDurableIsGuarded) {
  Open();
  Append({"a", "b"});
  Append({"c"});
  const std::size_t durable = Read().size();
  Append({"last"});
  const std::string good = Read();
  for (std::size_t at = 0; at < durable; ++at) {
    for (const char value : {static_cast<char>(~good[at]), static_cast<char>(good[at] ^ 1)}) {
      std::string bad = good;
      bad[at] = value;
      Put(kFirst, bad);
      const absl::Status status = TryOpen();
      ASSERT_TRUE(absl::IsDataLoss(status)) << at << " " << status;
      ASSERT_THAT(Message(status), HasSubstr(kFirst));
      ASSERT_THAT(Message(status), HasSubstr("at offset "));
      ASSERT_EQ(Read(), bad);  // nothing was cut
    }
  }
}

TEST_F(AppendLogTest, DamageBeforeATornGroupIsDamage) {
  Open();
  Append({"a"});
  const std::size_t first_end = Read().size();
  Append({std::string(1000, 'x')});
  // Of the last group only the header is there: it says that "a" was durable.
  std::string bytes = Read().substr(0, first_end + 36);
  Put(kFirst, bytes);
  EXPECT_THAT(Open(), ElementsAre("1:a"));
  bytes[first_end - 1] ^= 1;
  Put(kFirst, bytes);
  const absl::Status status = TryOpen();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("at offset 32"));
}

TEST_F(AppendLogTest, DamageInAnEarlierSegmentIsNeverTorn) {
  options_.segment_bytes = 1;
  Open();
  Append({"a"});
  Append({"b"});
  const std::string good = Read();
  for (std::size_t size = 0; size < good.size(); ++size) {
    Put(kFirst, good.substr(0, size));
    const absl::Status status = TryOpen();
    ASSERT_TRUE(absl::IsDataLoss(status)) << size << status;
  }
  Put(kFirst, good + '\0');
  EXPECT_TRUE(absl::IsDataLoss(TryOpen()));
  Put(kFirst, good);
  EXPECT_EQ(Open().size(), 2U);
}

TEST_F(AppendLogTest, ASegmentThatWasBeingMadeIsRemoved) {
  options_.segment_bytes = 1;
  Open();
  Append({"a"});
  const std::string name = "log/00000000000000000002.log";
  const std::string header = SegmentHeader(2, kSalt);
  for (std::size_t size = 0; size <= 32; ++size) {
    for (const bool zeros : {false, true}) {
      std::string torn = header.substr(0, size);
      if (zeros) torn.resize(32, '\0');
      Put(name, torn);
      ASSERT_THAT(Open(), ElementsAre("1:a")) << size;
      ASSERT_EQ(log_->recovery().removed_files, torn == header ? 0U : 1U) << size;
      ASSERT_EQ(log_->next_number(), 2U);
    }
  }
  Append({"b"});
  EXPECT_THAT(Open(), ElementsAre("1:a", "1:b"));
  // The first one of all too.
  disk_.Remove(kFirst).IgnoreError();
  disk_.Remove(name).IgnoreError();
  Put(kFirst, "DSAPP");
  EXPECT_THAT(Open(), IsEmpty());
  EXPECT_THAT(Segments(), IsEmpty());
  // But not one that must have had others before it.
  Put("log/00000000000000000009.log", "");
  EXPECT_TRUE(absl::IsDataLoss(TryOpen()));
}

TEST(AppendLogOnFiles, GoesOnInTheSegmentBeforeOneThatWasBeingMade) {
  const ::ds::testing::TempDir folder;
  auto disk = RootedDisk::Open(folder.path());
  ASSERT_TRUE(disk.ok());
  std::vector<std::string> records;
  const auto open = [&](std::uint64_t segment_bytes) {
    records.clear();
    AppendLog::Options options;
    options.segment_bytes = segment_bytes;
    return AppendLog::Open(**disk, "log", options, [&](const AppendLog::Record& record) {
      records.emplace_back(record.payload);
      return absl::OkStatus();
    });
  };
  {
    auto log = open(1);
    ASSERT_TRUE(log.ok()) << log.status();
    (*log)->Append(1, {"a"});
    ASSERT_TRUE((*log)->Sync().ok());
  }
  ASSERT_TRUE((*disk)->OpenFile("log/00000000000000000002.log", Disk::Open::kEmpty).ok());
  {
    auto log = open(1000);
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_EQ((*log)->recovery().removed_files, 1U);
    (*log)->Append(1, {"b"});
    const absl::Status status = (*log)->Sync();
    EXPECT_TRUE(status.ok()) << status;
  }
  ASSERT_TRUE(open(1000).ok());
  EXPECT_THAT(records, ElementsAre("a", "b"));
}

TEST_F(AppendLogTest, AMissingSegmentIsFound) {
  options_.segment_bytes = 1;
  Open();
  for (const char* payload : {"a", "b", "c", "d"}) Append({payload});
  ASSERT_TRUE(disk_.Remove("log/00000000000000000002.log").ok());
  const absl::Status status = TryOpen();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(Message(status), HasSubstr("the segment with record 2 is missing"));
}

TEST_F(AppendLogTest, AHostileFileIsRefusedOrCut) {
  const std::string header = SegmentHeader(1, kSalt);
  const std::uint32_t seed = SeedOf(header);
  const std::string record = RecordBytes(1, "x");
  std::string long_record;
  AppendU32(&long_record, 0xffffffff);
  AppendU8(&long_record, 1);
  std::string endless;  // a header that says that it is as long as can be
  AppendU32(&endless, 0);
  AppendU64(&endless, ~std::uint64_t{0});
  AppendU64(&endless, 1);
  AppendU64(&endless, 32);
  AppendU32(&endless, 0xffffffff);
  std::string endless_crc;
  AppendU32(&endless_crc, Crc32c(endless, seed));
  struct Case {
    const char* what;
    std::string content;
    absl::StatusCode code;
  };
  const Case cases[] = {
      {"no record", header + GroupBytes(seed, 32, 1, 0, ""), absl::StatusCode::kDataLoss},
      {"fewer records", header + GroupBytes(seed, 32, 1, 1, record + record),
       absl::StatusCode::kDataLoss},
      {"more records", header + GroupBytes(seed, 32, 1, 0xffffffff, record),
       absl::StatusCode::kDataLoss},
      {"long record", header + GroupBytes(seed, 32, 1, 1, long_record),
       absl::StatusCode::kDataLoss},
      {"half a record", header + GroupBytes(seed, 32, 1, 1, record.substr(0, 3)),
       absl::StatusCode::kDataLoss},
      {"another number", header + GroupBytes(seed, 32, 2, 1, record), absl::StatusCode::kDataLoss},
      {"of another segment", SegmentHeader(7, kSalt), absl::StatusCode::kDataLoss},
      {"a newer version", SegmentHeader(1, kSalt, 2), absl::StatusCode::kFailedPrecondition},
      {"another file", std::string(100, 'x'), absl::StatusCode::kDataLoss},
      {"endless group", header + endless_crc + endless, absl::StatusCode::kOk},
      {"another offset", header + GroupBytes(seed, 33, 1, 1, record), absl::StatusCode::kOk},
      {"another seed", header + GroupBytes(seed + 1, 32, 1, 1, record), absl::StatusCode::kOk},
  };
  ASSERT_TRUE(disk_.MakeFolder("log", 0777).ok());
  for (const Case& hostile : cases) {
    Put(kFirst, hostile.content);
    const absl::Status status = TryOpen();
    EXPECT_EQ(status.code(), hostile.code) << hostile.what << ": " << status;
    if (status.ok()) {
      EXPECT_EQ(Read(), header) << hostile.what;
    }
  }
}

TEST_F(AppendLogTest, APayloadThatLooksLikeAGroupProvesNothing) {
  // Who writes into the log knows the format, not the salt. Torn before the image ends.
  Open();
  Append({"a"});
  const std::size_t durable = Read().size();
  const std::size_t image_at = durable + 36 + 5;
  const std::string guess =
      GroupBytes(SeedOf(SegmentHeader(1, kSalt + 1)), image_at, 9, 1, RecordBytes(1, "x"));
  const std::string known =
      GroupBytes(SeedOf(SegmentHeader(1, kSalt)), image_at, 9, 1, RecordBytes(1, "x"));
  const std::string before = Read();
  for (const bool knows_salt : {false, true}) {
    Put(kFirst, before);
    Open();
    Append({(knows_salt ? known : guess) + "tail"});
    std::string torn = Read();
    torn.pop_back();
    Put(kFirst, torn);
    const absl::Status status = TryOpen();
    EXPECT_EQ(status.ok(), !knows_salt) << status;
  }
}

TEST_F(AppendLogTest, ALogGetsASaltOfItsOwn) {
  options_.salt.reset();
  Open();
  Append({"a"});
  const std::string first = Read();
  ASSERT_TRUE(disk_.Remove(kFirst).ok());
  Open();
  Append({"a"});
  EXPECT_NE(Read().substr(20, 8), first.substr(20, 8));
}

TEST_F(AppendLogTest, AnErrorIsFinal) {
  for (const std::string failing : {"write", "sync", "create", "sync folder", "remove"}) {
    options_.segment_bytes = 1;
    Open();
    Append({"a"});
    Append({"b"});
    const std::size_t records = Open().size();
    disk_.fault = [&](const std::string& operation, const std::string&) {
      return operation == failing ? Error(absl::StatusCode::kUnknown, "bad") : absl::OkStatus();
    };
    absl::Status status;
    if (failing == "remove") {
      status = log_->RemoveBefore(first_ + 1);
    } else {
      log_->Append(1, {"c"});
      status = log_->Sync();
    }
    EXPECT_EQ(Message(status), "bad") << failing;
    disk_.fault = nullptr;
    log_->Append(1, {"d"});
    EXPECT_EQ(log_->Sync(), status);
    EXPECT_GE(Open().size(), records);
    EXPECT_THAT(records_, ::testing::Not(::testing::Contains("1:d")));
  }
}

TEST_F(AppendLogTest, AFullDiskLeavesWhatWasDurable) {
  Open();
  Append({"a"});
  const std::size_t size = Read().size();
  for (std::size_t room = 0; room < 36 + 5 + 100; room += 7) {
    disk_.capacity_bytes = size + room;
    log_->Append(1, {std::string(100, 'x')});
    const absl::Status status = log_->Sync();
    ASSERT_TRUE(absl::IsResourceExhausted(status)) << status;
    ASSERT_THAT(Open(), ElementsAre("1:a"));
    ASSERT_EQ(log_->recovery().torn_bytes, room);
  }
  disk_.capacity_bytes.reset();
  Append({"b"});
  EXPECT_THAT(Open(), ElementsAre("1:a", "1:b"));
}

TEST_F(AppendLogTest, AnErrorOfTheOwnerEndsOpen) {
  Open();
  Append({"a"});
  const auto log = AppendLog::Open(
      disk_, "log", options_, [](const AppendLog::Record&) { return InvalidArgument("not mine"); });
  EXPECT_EQ(Message(log.status()), "not mine");
}

}  // namespace
}  // namespace ds::fs
