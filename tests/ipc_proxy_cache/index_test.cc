#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ipc_proxy_cache/shm/index_reader.h"
#include "ipc_proxy_cache/shm/index_writer.h"

namespace ds::ipc_proxy_cache {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

constexpr IndexGeometry kGeometry{.slot_count = 64, .live_table_length = 16};
constexpr std::uint64_t kSets = kGeometry.slot_count / kIndexSetSlots;

HashSecret Secret(unsigned seed) {
  HashSecret secret;
  for (std::size_t i = 0; i < secret.size(); ++i) {
    secret[i] = static_cast<std::byte>((i + 1) * (seed * 2654435761U + 40503U) >> 7U);
  }
  return secret;
}

IndexEntry Entry(std::uint64_t n) {
  const auto time = static_cast<std::int64_t>(n);
  return {.memfd = n,
          .record_offset = n * kRecordAlignment,
          .flags = static_cast<std::uint32_t>(n % 4),
          .fresh_until_ns = time * 10,
          .stale_until_ns = time * 100,
          .age_zero_ns = -time};
}

/// A hash in set 3 of kGeometry, searched for from slot `n mod 8` on.
KeyHash InSetThree(std::uint64_t n) { return {.low = 3 + n * kSets, .high = n}; }

UniqueFd Duplicate(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

class IndexTest : public ::testing::Test {
 protected:
  IndexWriter writer_ = *IndexWriter::Create(kGeometry, Secret(1));
  IndexReader reader_ = *IndexReader::Adopt(Duplicate(writer_.fd()));
};

TEST_F(IndexTest, KeyThatWasPutIsFoundAndNoOther) {
  const KeyHash hash = writer_.Hash("http://a/b");
  EXPECT_EQ(reader_.Find(hash), std::nullopt);
  EXPECT_EQ(writer_.Put(hash, Entry(7)), IndexWriter::PutResult::kInserted);
  EXPECT_EQ(reader_.Find(reader_.Hash("http://a/b")), Entry(7));
  EXPECT_EQ(writer_.Find(hash), Entry(7));
  EXPECT_EQ(reader_.Find(reader_.Hash("http://a/c")), std::nullopt);
}

TEST_F(IndexTest, EntryComesBackWithAllItsBits) {
  const IndexEntry entry{.memfd = std::numeric_limits<std::uint64_t>::max(),
                         .record_offset = std::uint64_t{0xffff'ffff} * kRecordAlignment,
                         .flags = 0xffff'ffff,
                         .fresh_until_ns = std::numeric_limits<std::int64_t>::max(),
                         .stale_until_ns = std::numeric_limits<std::int64_t>::min(),
                         .age_zero_ns = -1};
  writer_.Put(InSetThree(1), entry);
  EXPECT_EQ(reader_.Find(InSetThree(1)), entry);
}

TEST_F(IndexTest, ChangeIsMadeInTheSlotWhereTheKeyStands) {
  for (std::uint64_t n = 1; n <= 3; ++n) writer_.Put(InSetThree(n), Entry(n));
  EXPECT_EQ(writer_.Put(InSetThree(2), Entry(20)), IndexWriter::PutResult::kUpdated);
  EXPECT_EQ(reader_.Find(InSetThree(2)), Entry(20));
  EXPECT_EQ(reader_.Find(InSetThree(1)), Entry(1));
  EXPECT_EQ(writer_.Occupants(InSetThree(9)).size(), 3U);
}

TEST_F(IndexTest, KeyIsNotInsertedTwiceWhenASlotBeforeItsOwnBecomesFree) {
  // Both are searched for from slot 1 on; the second stands in slot 2.
  const KeyHash first = InSetThree(1);
  const KeyHash second = InSetThree(9);
  writer_.Put(first, Entry(1));
  writer_.Put(second, Entry(2));
  ASSERT_TRUE(writer_.Erase(first));
  EXPECT_EQ(writer_.Put(second, Entry(3)), IndexWriter::PutResult::kUpdated);
  EXPECT_THAT(writer_.Occupants(first), ElementsAre(second));
  ASSERT_TRUE(writer_.Erase(second));
  EXPECT_EQ(reader_.Find(second), std::nullopt);
}

TEST_F(IndexTest, ErasedKeyIsAbsent) {
  writer_.Put(InSetThree(1), Entry(1));
  EXPECT_TRUE(writer_.Erase(InSetThree(1)));
  EXPECT_FALSE(writer_.Erase(InSetThree(1)));
  EXPECT_EQ(reader_.Find(InSetThree(1)), std::nullopt);
  EXPECT_THAT(writer_.Occupants(InSetThree(1)), IsEmpty());
}

TEST_F(IndexTest, FullSetTakesNoNinthKeyUntilOneIsErased) {
  std::vector<KeyHash> hashes;
  for (std::uint64_t n = 0; n < kIndexSetSlots; ++n) {
    hashes.push_back(InSetThree(5 * n));
    ASSERT_EQ(writer_.Put(hashes.back(), Entry(n + 1)), IndexWriter::PutResult::kInserted);
  }
  EXPECT_EQ(writer_.Put(InSetThree(77), Entry(77)), IndexWriter::PutResult::kSetFull);
  EXPECT_EQ(reader_.Find(InSetThree(77)), std::nullopt);
  EXPECT_THAT(writer_.Occupants(InSetThree(77)), UnorderedElementsAreArray(hashes));
  for (std::uint64_t n = 0; n < kIndexSetSlots; ++n) {
    EXPECT_EQ(reader_.Find(hashes[n]), Entry(n + 1));
  }
  EXPECT_EQ(writer_.Put(hashes[5], Entry(50)), IndexWriter::PutResult::kUpdated);
  writer_.Erase(hashes[2]);
  EXPECT_EQ(writer_.Put(InSetThree(77), Entry(77)), IndexWriter::PutResult::kInserted);
  EXPECT_EQ(reader_.Find(InSetThree(77)), Entry(77));
}

TEST_F(IndexTest, KeysThatShareOneWordOfTheirHashesAreToldApart) {
  const KeyHash hash{.low = 3, .high = 4};
  writer_.Put(hash, Entry(1));
  EXPECT_EQ(reader_.Find({.low = 3, .high = 12}), std::nullopt);
  EXPECT_EQ(reader_.Find({.low = 3 + kSets, .high = 4}), std::nullopt);
}

TEST_F(IndexTest, IdIsLiveFromItsAdditionToItsRetirement) {
  EXPECT_FALSE(reader_.IsLive(5));
  writer_.AddLive(5);
  EXPECT_TRUE(reader_.IsLive(5));
  EXPECT_FALSE(reader_.IsLive(5 + kGeometry.live_table_length));
  EXPECT_FALSE(writer_.HasRoomFor(5 + kGeometry.live_table_length));
  EXPECT_TRUE(writer_.HasRoomFor(6));
  const std::uint64_t before = reader_.retirements();
  writer_.Retire(5);
  EXPECT_GT(reader_.retirements(), before);
  EXPECT_FALSE(reader_.IsLive(5));
  writer_.AddLive(5 + kGeometry.live_table_length);
  EXPECT_FALSE(reader_.IsLive(5)) << "another one's place";
}

TEST_F(IndexTest, BytesLieWhereTheDocumentSays) {
  writer_.AddLive(18);
  const KeyHash hash = InSetThree(13);  // set 3, from slot 5 on
  writer_.Put(hash, {.memfd = 18,
                     .record_offset = 6400,
                     .flags = 2,
                     .fresh_until_ns = 55,
                     .stale_until_ns = 66,
                     .age_zero_ns = 77});
  const auto memfd = *shm::Memfd::Adopt(Duplicate(writer_.fd()), shm::Memfd::Access::kRead,
                                        {.max = std::size_t{1} << 20U});
  const auto word = [&](std::size_t offset) {
    std::uint64_t value = 0;
    std::memcpy(&value, memfd.bytes().data() + offset, sizeof value);
    return value;
  };
  ASSERT_EQ(memfd.size(), 4096U + 8 * 16 + 64 * 64);
  EXPECT_EQ(std::memcmp(memfd.bytes().data(), "DSGFIDX1", 8), 0);
  EXPECT_EQ(word(8), 1U);
  EXPECT_EQ(word(16), kGeometry.slot_count);
  EXPECT_EQ(word(24), kGeometry.live_table_length);
  EXPECT_EQ(word(4096 + 8 * 2), 18U);  // 18 mod 16
  const std::size_t slot = 4096 + 8 * 16 + (3 * 8 + 5) * 64;
  const std::uint64_t expected[] = {2,  hash.low, hash.high, 18, 100 | std::uint64_t{2} << 32U,
                                    55, 66,       77};
  for (std::size_t i = 0; i < std::size(expected); ++i) EXPECT_EQ(word(slot + 8 * i), expected[i]);
}

TEST_F(IndexTest, PromisesOfTheWriterAreChecked) {
  EXPECT_DEATH(writer_.Put(KeyHash{}, Entry(1)), "KeyHash");
  EXPECT_DEATH(writer_.Put(InSetThree(1), Entry(0)), "memfd");
  EXPECT_DEATH(writer_.Put(InSetThree(1), {.memfd = 1, .record_offset = 32}), "record_offset");
  EXPECT_DEATH(writer_.Put(InSetThree(1), {.memfd = 1, .record_offset = std::uint64_t{1} << 38U}),
               "record_offset");
  writer_.AddLive(1);
  EXPECT_DEATH(writer_.AddLive(1 + kGeometry.live_table_length), "HasRoomFor");
  EXPECT_DEATH(writer_.Retire(2), "position");
}

/// An index whose every byte the test can set, as if the cache had died there.
class RawIndex {
 public:
  RawIndex() : memfd_(*shm::Memfd::Create("raw", kGeometry.Bytes(), shm::Memfd::Access::kRead)) {
    header().magic = IndexHeader::kMagic;
    header().version = IndexHeader::kVersion;
    header().slot_count = kGeometry.slot_count;
    header().live_table_length = kGeometry.live_table_length;
  }
  IndexHeader& header() { return *reinterpret_cast<IndexHeader*>(memfd_.writable_bytes().data()); }
  IndexSlot& slot(std::size_t n) {
    return reinterpret_cast<IndexSlot*>(memfd_.writable_bytes().data() +
                                        kGeometry.SlotsOffset())[n];
  }
  absl::StatusOr<IndexReader> Reader() { return IndexReader::Adopt(Duplicate(memfd_.fd())); }

 private:
  shm::Memfd memfd_;
};

TEST(IndexReaderTest, SlotWhoseWriterDiedInItIsAbsentAndHidesNoOther) {
  RawIndex index;
  const auto reader = index.Reader();
  ASSERT_TRUE(reader.ok()) << reader.status();
  const KeyHash hash = InSetThree(0);
  const auto set = [&](std::size_t n, std::uint64_t sequence, std::uint64_t memfd) {
    IndexSlot& slot = index.slot(3 * kIndexSetSlots + n);
    slot.hash_low = hash.low;
    slot.hash_high = hash.high;
    slot.memfd = memfd;
    slot.sequence = sequence;
  };
  set(0, 7, 1);
  EXPECT_EQ(reader->Find(hash), std::nullopt);
  set(1, 8, 2);  // would be a second place, which a live writer never makes
  ASSERT_TRUE(reader->Find(hash).has_value());
  EXPECT_EQ(reader->Find(hash)->memfd, 2U);
}

TEST(IndexReaderTest, HeaderThatDoesNotFitIsRefused) {
  struct Case {
    const char* what;
    void (*spoil)(IndexHeader&);
    const char* why;
  };
  const Case cases[] = {
      {"magic", [](IndexHeader& h) { h.magic ^= 1U; }, "magic"},
      {"version", [](IndexHeader& h) { h.version = 2; }, "version 2"},
      {"no slots", [](IndexHeader& h) { h.slot_count = 0; }, "powers of two"},
      {"half a set", [](IndexHeader& h) { h.slot_count = 4; }, "powers of two"},
      {"not a power", [](IndexHeader& h) { h.slot_count = 96; }, "powers of two"},
      {"wraps around", [](IndexHeader& h) { h.slot_count = std::uint64_t{1} << 58U; }, "powers of"},
      {"more slots than bytes", [](IndexHeader& h) { h.slot_count *= 2; }, "bytes, not"},
      {"fewer slots than bytes", [](IndexHeader& h) { h.slot_count /= 2; }, "bytes, not"},
      {"no live table", [](IndexHeader& h) { h.live_table_length = 0; }, "powers of two"},
      {"larger live table", [](IndexHeader& h) { h.live_table_length = 1024; }, "bytes, not"},
  };
  for (const Case& c : cases) {
    RawIndex index;
    c.spoil(index.header());
    const auto reader = index.Reader();
    EXPECT_EQ(reader.status().code(), absl::StatusCode::kInvalidArgument) << c.what;
    EXPECT_THAT(Message(reader.status()), HasSubstr(c.why)) << c.what;
  }
}

TEST(IndexReaderTest, FileThatOthersMayWriteOrThatIsTooShortIsRefused) {
  auto writable = shm::Memfd::Create("w", kGeometry.Bytes(), shm::Memfd::Access::kReadWrite);
  EXPECT_FALSE(IndexReader::Adopt(Duplicate(writable->fd())).ok());
  auto tiny = shm::Memfd::Create("t", sizeof(IndexHeader) - 1, shm::Memfd::Access::kRead);
  EXPECT_FALSE(IndexReader::Adopt(Duplicate(tiny->fd())).ok());
}

TEST(IndexWriterTest, GeometryThatIsNoneIsAnError) {
  EXPECT_FALSE(IndexWriter::Create({.slot_count = 12, .live_table_length = 8}, Secret(1)).ok());
}

TEST(HashKeyTest, DependsOnEveryByteOfTheKeyAndOnTheSecret) {
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen;
  std::size_t count = 0;
  const auto add = [&](unsigned secret, const std::string& key) {
    const KeyHash hash = HashKey(Secret(secret), key);
    EXPECT_EQ(hash, HashKey(Secret(secret), key));
    seen.emplace(hash.low, hash.high);
    ++count;
  };
  for (const std::size_t length :
       {0U, 1U, 3U, 8U, 16U, 17U, 128U, 129U, 240U, 241U, 1024U, 4096U}) {
    for (const unsigned secret : {1U, 2U}) {
      const std::string key(length, 'k');
      add(secret, key);
      for (std::size_t i = 0; i < length; i += 1 + length / 7) {
        std::string changed = key;
        changed[i] = 'l';
        add(secret, changed);
      }
    }
  }
  EXPECT_EQ(seen.size(), count);
}

TEST(HashKeyTest, SecretIsDrawnAnewEachTime) {
  const auto first = RandomHashSecret();
  const auto second = RandomHashSecret();
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(*first, *second);
  EXPECT_NE(HashKey(*first, "key"), HashKey(*second, "key"));
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
