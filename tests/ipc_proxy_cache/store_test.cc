#include "ipc_proxy_cache/shm/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/ipc_proxy_cache/store_testing.h"

namespace ds::ipc_proxy_cache {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Result = Store::Result;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

std::size_t OpenDescriptors() {
  const auto begin = std::filesystem::directory_iterator("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin, std::filesystem::directory_iterator{}));
}

class StoreTest : public ::testing::Test {
 protected:
  Result Insert(const std::string& key, std::uint64_t n, std::size_t size,
                const ObjectTimes& times = {}) {
    const std::vector<std::byte> body = BodyOf(n, size);
    const std::string fields = FieldsOf(n, size);
    return store_.Insert({.hash = store_.Hash(key), .key = key, .fields = fields, .body = body},
                         times);
  }
  /// Of `size` bytes, with none of them.
  std::uint64_t Begin(const std::string& key, std::uint64_t n, std::size_t size) {
    const std::string fields = FieldsOf(n, size);
    const auto fill =
        store_.BeginFill({.hash = store_.Hash(key), .key = key, .fields = fields}, size);
    return fill.value_or(0);
  }
  void Fill(std::uint64_t fill, std::span<const std::byte> bytes) {
    std::ranges::copy(bytes, store_.FillSpace(fill).begin());
    store_.RaiseFill(fill, bytes.size());
  }

  Store store_ = *Store::Create(64 * kMiB, *RandomHashSecret());  // chunks of 1 MiB
  LocalLink link_{store_, 1};
};

TEST_F(StoreTest, WhatWasInsertedIsFoundWholeWhateverItsSize) {
  std::uint64_t n = 0;
  for (const std::size_t size : {0U, 1U, 560U, 4095U, 4096U, 16384U, 16385U, 65'000U, 65'536U,
                                 70'000U, 1'048'576U, 5'000'001U}) {
    const std::string key = "http://origin/" + std::to_string(size);
    ASSERT_EQ(Insert(key, ++n, size, {.flags = 2, .fresh_until_ns = 77}), Result::kStored) << size;
    const auto hit = link_.Lookup(key);
    ASSERT_TRUE(hit.has_value()) << size;
    EXPECT_TRUE(IsWhole(*hit->object)) << size;
    EXPECT_EQ(hit->object->key(), key);
    EXPECT_EQ(hit->entry.flags, 2U);
    EXPECT_EQ(hit->entry.fresh_until_ns, 77);
    const auto file = hit->object->SendfilePart();
    ASSERT_EQ(file.has_value(), size > kCopiedBodyMax) << size;
    if (!file) continue;
    EXPECT_EQ(file->bytes, size);
    EXPECT_EQ(file->body_offset % kPageBytes, 0U);
    std::vector<std::byte> read(size);
    ASSERT_EQ(::pread(file->fd, read.data(), size, static_cast<off_t>(file->body_offset)),
              static_cast<ssize_t>(size));
    EXPECT_EQ(read, BodyOf(n, size));
  }
  EXPECT_FALSE(link_.Lookup("http://origin/other").has_value());
}

TEST_F(StoreTest, ClientsOfOneObjectShareIt) {
  Insert("a", 1, 100);
  EXPECT_EQ(link_.Lookup("a")->object, link_.Lookup("a")->object) << "also when nobody had it";
  const auto first = link_.Lookup("a");
  EXPECT_EQ(first->object, link_.Lookup("a")->object);
}

TEST_F(StoreTest, NewVersionTakesThePlaceOfTheOldOneWhichItsReadersKeep) {
  Insert("a", 1, 5000);
  const auto old = link_.Lookup("a");
  Insert("a", 2, 300'000);
  const auto now = link_.Lookup("a");
  ASSERT_TRUE(old && now);
  EXPECT_EQ(old->object->body_bytes(), 5000U);
  EXPECT_TRUE(IsWhole(*old->object));
  EXPECT_EQ(now->object->body_bytes(), 300'000U);
  EXPECT_TRUE(IsWhole(*now->object));
  EXPECT_EQ(store_.layout().objects(), 1U);
}

TEST_F(StoreTest, ObjectIsStoredAgainWithOtherFields) {
  for (const std::size_t size : {1000U, 300'000U}) {
    Insert("a", 1, size);
    const auto old = store_.Read(store_.Hash("a"));
    ASSERT_TRUE(old.has_value());
    const std::string fields = FieldsOf(1, size) + " etag=1";
    ASSERT_EQ(
        store_.Insert({.hash = old->hash(), .key = "a", .fields = fields, .body = old->Body()}, {}),
        Result::kStored);
    const auto hit = link_.Lookup("a");
    ASSERT_TRUE(hit.has_value());
    EXPECT_EQ(hit->object->fields(), fields);
    EXPECT_TRUE(IsWhole(*hit->object));
  }
  EXPECT_FALSE(store_.Read(store_.Hash("b")).has_value());
}

TEST_F(StoreTest, KeyWhoseHashIsAnothersIsAMiss) {
  store_.Insert({.hash = store_.Hash("b"), .key = "a", .fields = FieldsOf(1, 0)}, {});
  EXPECT_FALSE(link_.Lookup("b").has_value());
  const auto entry = store_.index().Find(store_.Hash("b"));
  const auto other = link_.view().ObjectAt(entry->memfd, entry->record_offset, "a");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_FALSE(link_.Lookup("b").has_value()) << "also while somebody has the other's";
}

TEST_F(StoreTest, MemfdThatWasRetiredBeforeItWasMappedIsLetGo) {
  Insert("small", 1, 100);
  Insert("large", 2, 300'000);
  const std::uint64_t chunk = store_.index().Find(store_.Hash("small"))->memfd;
  const std::uint64_t large = store_.index().Find(store_.Hash("large"))->memfd;
  // The answers to OPEN are under way.
  store_.holdings().Hold(1, chunk);
  store_.holdings().Hold(1, large);
  UniqueFd chunk_fd = Duplicate(store_.Find(chunk)->fd);
  UniqueFd large_fd = Duplicate(store_.Find(large)->fd);
  store_.Evict(store_.Hash("small"));
  store_.Evict(store_.Hash("large"));
  // Until another chunk is open, with nothing alive in this one.
  for (std::uint64_t n = 10; n < 100; ++n) Insert("other", n, 60'000);
  ASSERT_FALSE(store_.Find(chunk).has_value());
  EXPECT_EQ(link_.Turn(), 0U);
  ASSERT_TRUE(link_.view().Map(chunk, std::move(chunk_fd), ReaderView::Kind::kChunk).ok());
  ASSERT_TRUE(link_.view().Map(large, std::move(large_fd), ReaderView::Kind::kObject).ok());
  auto object = link_.view().ObjectAt(large, 0, "large");
  ASSERT_TRUE(object.ok()) << object.status();
  EXPECT_EQ(link_.Turn(), 1U);
  EXPECT_TRUE(IsWhole(**object));
  object = absl::InternalError("none");
  EXPECT_EQ(link_.Turn(), 1U);
  EXPECT_EQ(link_.view().mapped(), 0U);
  EXPECT_EQ(store_.holdings().retired_bytes(), 0U);
}

TEST_F(StoreTest, OtherTimesLeaveTheObjectWhereItIs) {
  Insert("a", 1, 5000);
  const auto before = link_.Lookup("a");
  EXPECT_TRUE(store_.Update(store_.Hash("a"), {.flags = 1, .fresh_until_ns = 5}));
  const auto after = link_.Lookup("a");
  EXPECT_EQ(after->object, before->object);
  EXPECT_EQ(after->entry.fresh_until_ns, 5);
  EXPECT_EQ(after->entry.flags, 1U);
  EXPECT_FALSE(store_.Update(store_.Hash("b"), {}));
}

TEST_F(StoreTest, EvictedObjectIsGoneAndItsReadersKeepIt) {
  Insert("small", 1, 100);
  Insert("large", 2, 1'000'000);
  const auto small = link_.Lookup("small");
  auto large = link_.Lookup("large");
  const std::uint64_t large_memfd = large->entry.memfd;
  EXPECT_TRUE(store_.Evict(store_.Hash("small")));
  EXPECT_TRUE(store_.Evict(store_.Hash("large")));
  EXPECT_FALSE(store_.Evict(store_.Hash("large")));
  EXPECT_FALSE(link_.Lookup("small") || link_.Lookup("large"));
  EXPECT_EQ(store_.holdings().retired_bytes(), 4096U + 1'003'520);
  EXPECT_THAT(store_.TakeLinksToTell(), ElementsAre(1));
  EXPECT_THAT(store_.TakeLinksToTell(), IsEmpty());
  EXPECT_EQ(link_.Turn(), 0U) << "it is being sent";
  EXPECT_TRUE(IsWhole(*large->object));
  EXPECT_TRUE(IsWhole(*small->object));
  EXPECT_FALSE(link_.Open(large_memfd)) << "gone";
  large.reset();
  EXPECT_EQ(link_.Turn(), 1U);
  EXPECT_EQ(store_.holdings().retired_bytes(), 0U);
  EXPECT_EQ(link_.wrong_releases(), 0U);
}

TEST_F(StoreTest, ObjectsOutliveTheirLinkAndTheCache) {
  std::vector<ReaderView::Hit> hits;
  {
    Store store = *Store::Create(16 * kMiB, *RandomHashSecret());
    LocalLink link(store, 1);
    for (std::uint64_t n = 1; n <= 20; ++n) {
      const std::string key = std::to_string(n);
      const std::string fields = FieldsOf(n, n * 9000);
      const std::vector<std::byte> body = BodyOf(n, n * 9000);
      store.Insert({.hash = store.Hash(key), .key = key, .fields = fields, .body = body}, {});
      hits.push_back(*link.Lookup(key));
    }
  }
  for (const ReaderView::Hit& hit : hits) EXPECT_TRUE(IsWhole(*hit.object));
}

TEST_F(StoreTest, FillIsFollowedWhileItGrowsAndFoundWhenItIsPublished) {
  const std::vector<std::byte> body = BodyOf(1, 300'000);
  const std::uint64_t fill = Begin("a", 1, body.size());
  ASSERT_NE(fill, 0U);
  ASSERT_TRUE(link_.Open(fill));
  const auto object = link_.view().ObjectAt(fill, 0, "a");
  ASSERT_TRUE(object.ok()) << object.status();
  EXPECT_TRUE((*object)->Body().empty());
  EXPECT_EQ((*object)->SendfilePart()->bytes, 0U);
  Fill(fill, std::span(body).first(10'000));
  EXPECT_EQ((*object)->Body().size(), 10'000U);
  EXPECT_EQ((*object)->SendfilePart()->bytes, 8192U) << "whole pages only";
  EXPECT_LT((*object)->Body().size(), (*object)->body_bytes());
  EXPECT_FALSE(link_.Lookup("a").has_value());
  Fill(fill, std::span(body).subspan(10'000));
  EXPECT_TRUE(store_.FillSpace(fill).empty());
  EXPECT_EQ((*object)->SendfilePart()->bytes, 300'000U);
  EXPECT_EQ(store_.PublishFill(fill, {.fresh_until_ns = 9}), Result::kStored);
  const auto hit = link_.Lookup("a");
  ASSERT_TRUE(hit.has_value());
  EXPECT_EQ(hit->object, *object);
  EXPECT_TRUE(IsWhole(*hit->object));
  EXPECT_FALSE(link_.view().ObjectAt(fill, 0, "b").ok());
  EXPECT_FALSE(link_.view().ObjectAt(fill, 64, "a").ok());
  EXPECT_FALSE(link_.view().ObjectAt(fill + 1, 0, "a").ok());
}

TEST_F(StoreTest, SmallFillMovesIntoAChunkAndItsFollowersKeepTheirs) {
  const std::vector<std::byte> body = BodyOf(1, 700);
  const std::uint64_t fill = Begin("a", 1, body.size());
  ASSERT_TRUE(link_.Open(fill));
  auto follower = *link_.view().ObjectAt(fill, 0, "a");
  Fill(fill, body);
  EXPECT_EQ(store_.PublishFill(fill, {}), Result::kStored);
  EXPECT_FALSE(store_.Find(fill).has_value());
  EXPECT_TRUE(IsWhole(*follower));
  const auto hit = link_.Lookup("a");
  ASSERT_TRUE(hit.has_value());
  EXPECT_NE(hit->object, follower);
  EXPECT_TRUE(IsWhole(*hit->object));
  follower.reset();
  EXPECT_EQ(link_.Turn(), 1U);
}

TEST_F(StoreTest, AbandonedFillIsNeverFound) {
  const std::uint64_t fill = Begin("a", 1, 300'000);
  ASSERT_TRUE(link_.Open(fill));
  auto follower = *link_.view().ObjectAt(fill, 0, "a");
  Fill(fill, BodyOf(1, 100));
  store_.AbandonFill(fill);
  EXPECT_FALSE(link_.Lookup("a").has_value());
  EXPECT_EQ(follower->Body().size(), 100U);
  EXPECT_EQ(store_.layout().objects(), 0U);
  EXPECT_GT(store_.holdings().retired_bytes(), 300'000U);
  follower.reset();
  link_.Turn();
  EXPECT_EQ(store_.holdings().retired_bytes(), 0U);
  EXPECT_DEATH(store_.AbandonFill(fill), "fills_");
}

TEST_F(StoreTest, LinkThatLetsNothingGoEndsNewFillsUntilItEnds) {
  LocalLink other(store_, 2);
  auto stopped = std::make_unique<LocalLink>(store_, 3);
  for (std::uint64_t n = 0; n < 17; ++n) {
    Insert("a", n, kMiB);
    EXPECT_TRUE(stopped->Lookup("a").has_value());
  }
  store_.Evict(store_.Hash("a"));
  EXPECT_GT(store_.holdings().retired_bytes(), 16 * kMiB);
  EXPECT_EQ(Begin("b", 1, 300'000), 0U);
  EXPECT_EQ(Insert("c", 1, 300'000), Result::kNoRoom);
  EXPECT_EQ(Insert("d", 1, 1000), Result::kStored) << "small ones go on";
  stopped.reset();
  EXPECT_EQ(store_.holdings().retired_bytes(), 0U);
  EXPECT_NE(Begin("b", 1, 300'000), 0U);
}

TEST_F(StoreTest, FullSetAsksForAVictim) {
  Store store = *Store::Create(4 * kMiB, *RandomHashSecret());
  std::uint64_t n = 0;
  Result result = Result::kStored;
  std::string key;
  while (result == Result::kStored && n < 4000) {
    key = std::to_string(++n);
    result = store.Insert({.hash = store.Hash(key), .key = key, .fields = "", .body = {}}, {});
  }
  ASSERT_EQ(result, Result::kSetFull) << n;
  const std::size_t objects = store.layout().objects();
  const std::vector<KeyHash> occupants = store.index().Occupants(store.Hash(key));
  ASSERT_EQ(occupants.size(), kIndexSetSlots);
  EXPECT_TRUE(store.Evict(occupants[3]));
  EXPECT_EQ(store.Insert({.hash = store.Hash(key), .key = key, .fields = "", .body = {}}, {}),
            Result::kStored);
  EXPECT_EQ(store.layout().objects(), objects);
}

TEST_F(StoreTest, SlowClientsOfACleanedChunkGoOnFromTheWorkersMemory) {
  // Chunks with one live object in eight.
  std::vector<ReaderView::Hit> held;
  for (std::uint64_t n = 1; n <= 120; ++n) {
    const std::string key = std::to_string(n);
    ASSERT_EQ(Insert(key, n, 60'000), Result::kStored);
    if (n % 8 == 0) held.push_back(*link_.Lookup(key));
  }
  for (std::uint64_t n = 1; n <= 120; ++n) {
    if (n % 8 != 0) store_.Evict(store_.Hash(std::to_string(n)));
  }
  const std::size_t mapped = link_.view().mapped();
  ASSERT_GT(mapped, 3U);
  // Objects of their own until chunks must be cleaned.
  for (std::uint64_t n = 200; n < 300 && Insert(std::to_string(n), n, kMiB) == Result::kStored;) {
    ++n;
  }
  EXPECT_FALSE(store_.TakeLinksToTell().empty());
  EXPECT_GT(store_.holdings().retired_bytes(), 0U);
  EXPECT_GT(link_.Turn(), 0U);
  EXPECT_LT(link_.view().mapped(), mapped);
  EXPECT_EQ(store_.holdings().retired_bytes(), 0U) << "no slow client pins a chunk";
  std::size_t copied = 0;
  for (const ReaderView::Hit& hit : held) {
    EXPECT_TRUE(IsWhole(*hit.object));
    if (!hit.object->SendfilePart()) ++copied;
    const auto again = link_.Lookup(std::string(hit.object->key()));
    ASSERT_TRUE(again.has_value()) << "moved, not lost";
    EXPECT_TRUE(IsWhole(*again->object));
  }
  EXPECT_GT(copied, 0U);
  EXPECT_EQ(link_.wrong_releases(), 0U);
}

TEST_F(StoreTest, PagesInASocketStayAsTheyWereWhateverTheStoreDoes) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const UniqueFd out(pipe[0]);
  const UniqueFd in(pipe[1]);
  Insert("a", 1, 30'000);
  {
    const auto hit = link_.Lookup("a");
    const auto file = hit->object->SendfilePart();
    ASSERT_TRUE(file.has_value());
    auto offset = static_cast<off_t>(file->body_offset);
    ASSERT_EQ(::sendfile(in.get(), file->fd, &offset, file->bytes), 30'000);
  }
  store_.Evict(store_.Hash("a"));
  link_.Turn();
  for (std::uint64_t n = 2; n < 3000; ++n) {
    Insert(std::to_string(n % 7), n, 30'000 - n);
    if (n % 100 == 0) link_.Turn();
  }
  std::vector<std::byte> read(30'000);
  ASSERT_EQ(::read(out.get(), read.data(), read.size()), 30'000);
  EXPECT_EQ(read, BodyOf(1, 30'000));
}

TEST_F(StoreTest, WithoutDescriptorsObjectsPassThrough) {
  const std::size_t open = OpenDescriptors();
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  Insert("before", 1, 100);
  rlimit none = limit;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_EQ(Insert("large", 2, 300'000), Result::kNoRoom);
  EXPECT_EQ(Begin("large", 2, 300'000), 0U);
  EXPECT_EQ(Insert("small", 3, 100), Result::kStored) << "into the open chunk";
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(OpenDescriptors(), open + 1);
  EXPECT_EQ(Insert("large", 2, 300'000), Result::kStored);
}

TEST(StoreMemoryTest, SizeOutOfBoundsIsAnError) {
  EXPECT_FALSE(Store::Create(4 * kMiB - 1, HashSecret{}).ok());
  EXPECT_FALSE(Store::Create(UINT64_MAX, HashSecret{}).ok());
  const auto smallest = Store::Create(4 * kMiB, HashSecret{});
  EXPECT_TRUE(smallest.ok()) << smallest.status();
}

/// Cache and clients at random: whatever is found is the newest version, whole; whoever holds
/// something keeps it; store and policy agree; nothing is left at the end.
class EvictingStoreTest : public ::testing::TestWithParam<unsigned> {};

TEST_P(EvictingStoreTest, WhatIsFoundIsTheNewestVersionWhole) {
  const std::size_t open = OpenDescriptors();
  {
    std::mt19937_64 random(GetParam());
    FifoStore cache = MakeFifoStore((4 + GetParam() % 3 * 6) * kMiB);
    const std::uint64_t memory = cache.store().layout().geometry().memory_bytes;
    std::vector<std::unique_ptr<LocalLink>> links;
    std::uint64_t last_link = 0;
    for (int i = 0; i < 3; ++i) {
      links.push_back(std::make_unique<LocalLink>(cache.store(), ++last_link));
    }
    struct Fill {
      std::uint64_t id;
      std::uint64_t n;
      std::size_t size;
    };
    std::map<std::string, Fill> fills;
    std::map<std::string, std::uint64_t> newest;
    std::vector<std::shared_ptr<const CachedObject>> held;
    std::uint64_t hits = 0;
    std::uint64_t n = 0;
    const auto random_size = [&] {
      const std::size_t max = (memory / 16) >> (random() % 12);
      return random() % (max + 1);
    };
    for (int step = 0; step < 6'000; ++step) {
      const std::string key = "http://origin/" + std::to_string(random() % 700);
      const KeyHash hash = cache.store().Hash(key);
      LocalLink& link = *links[random() % links.size()];
      switch (random() % 10) {
        case 0:
        case 1:
        case 2: {
          if (fills.contains(key)) break;
          const std::size_t size = random_size();
          const std::string fields = FieldsOf(++n, size);
          const std::vector<std::byte> body = BodyOf(n, size);
          newest[key] = n;
          cache.Insert({.hash = hash, .key = key, .fields = fields, .body = body}, {});
          break;
        }
        case 3: {
          if (fills.contains(key)) break;
          const std::size_t size = random_size();
          const std::string fields = FieldsOf(++n, size);
          const auto fill = cache.BeginFill({.hash = hash, .key = key, .fields = fields}, size);
          if (!fill) break;
          fills[key] = {*fill, n, size};
          break;
        }
        case 4: {
          if (fills.empty()) break;
          auto at = fills.lower_bound(key);
          if (at == fills.end()) at = fills.begin();
          const Fill fill = at->second;
          const KeyHash filled = cache.store().Hash(at->first);
          const std::vector<std::byte> body = BodyOf(fill.n, fill.size);
          const std::uint64_t done = cache.store().Filled(fill.id);
          const std::size_t part = std::min(fill.size - done, 1 + random() % (fill.size + 1));
          std::copy_n(body.begin() + static_cast<std::ptrdiff_t>(done), part,
                      cache.store().FillSpace(fill.id).begin());
          cache.store().RaiseFill(fill.id, part);
          if (random() % 4 == 0) {
            cache.AbandonFill(fill.id, filled);
            fills.erase(at);
          } else if (done + part == fill.size) {
            if (cache.PublishFill(fill.id, filled, {})) newest[at->first] = fill.n;
            fills.erase(at);
          }
          break;
        }
        case 5:
          if (random() % 4 == 0) {
            cache.Evict(hash);
          } else if (const auto old = cache.store().Read(hash)) {
            const std::string fields = FieldsOf(newest[key], old->body_bytes()) + " etag";
            cache.Insert({.hash = hash, .key = key, .fields = fields, .body = old->Body()}, {});
          }
          break;
        case 6:
          link.Turn();
          break;
        case 7:
          if (random() % 50 == 0) {
            EXPECT_EQ(link.wrong_releases(), 0U);
            std::unique_ptr<LocalLink>& one = links[random() % links.size()];
            one = std::make_unique<LocalLink>(cache.store(), ++last_link);
          }
          break;
        default: {
          const auto hit = link.Lookup(key);
          if (!hit) break;
          ++hits;
          const std::string fields(hit->object->fields());
          ASSERT_EQ(std::stoull(fields), newest[key]) << "seed " << GetParam() << " step " << step;
          ASSERT_TRUE(IsWhole(*hit->object)) << "seed " << GetParam() << " step " << step;
          held.push_back(hit->object);
          if (held.size() > 30) {
            const std::size_t i = random() % held.size();
            ASSERT_TRUE(IsWhole(*held[i])) << "seed " << GetParam() << " step " << step;
            held[i] = held.back();
            held.pop_back();
          }
        }
      }
      const StoreLayout& layout = cache.store().layout();
      ASSERT_LE(layout.used_bytes(), layout.geometry().UsableBytes());
      ASSERT_LE(layout.used_bytes() + cache.store().holdings().retired_bytes(), memory / 4 * 5);
      if (step % 16 > 0) continue;
      std::size_t published = 0;
      for (const auto& [known, bytes] : cache.policy().sizes()) {
        if (cache.store().index().Find(known)) ++published;
      }
      ASSERT_EQ(layout.objects(), published + fills.size())
          << "seed " << GetParam() << " step " << step;
    }
    EXPECT_GT(hits, 200U);
    links.clear();
    EXPECT_EQ(cache.store().holdings().retired_bytes(), 0U);
    for (const auto& object : held) EXPECT_TRUE(IsWhole(*object));
  }
  EXPECT_EQ(OpenDescriptors(), open);
}
INSTANTIATE_TEST_SUITE_P(Seeds, EvictingStoreTest, ::testing::Range(0U, 9U));

}  // namespace
}  // namespace ds::ipc_proxy_cache
