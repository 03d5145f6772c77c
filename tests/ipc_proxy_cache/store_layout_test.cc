#include "ipc_proxy_cache/core/store_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace ds::ipc_proxy_cache {
namespace {

using Step = StoreLayout::Step;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
constexpr std::uint64_t kMemory = 4 * kMiB;  // chunks of 64 KiB, small ones up to 4 KiB
constexpr std::uint64_t kIndex = 128 * 1024;
constexpr std::uint64_t kChunk = 64 * 1024;

StoreGeometry Geometry() { return *StoreGeometry::For(kMemory, kIndex); }

TEST(StoreGeometryTest, ChunksAreAtLeastSixtyFour) {
  struct Case {
    std::uint64_t memory;
    std::uint64_t chunk;
  };
  for (const auto& [memory, chunk] :
       {Case{4 * kMiB, 64 * 1024}, Case{8 * kMiB - 1, 64 * 1024}, Case{256 * kMiB, 4 * kMiB},
        Case{511 * kMiB, 4 * kMiB}, Case{4096 * kMiB, 64 * kMiB}, Case{65536 * kMiB, 64 * kMiB}}) {
    const auto geometry = StoreGeometry::For(memory, 0);
    ASSERT_TRUE(geometry.ok()) << geometry.status();
    EXPECT_EQ(geometry->chunk_bytes, chunk) << memory;
  }
  EXPECT_FALSE(StoreGeometry::For(4 * kMiB - 1, 0).ok());
  EXPECT_FALSE(StoreGeometry::For(4 * kMiB, kMiB).ok());
  EXPECT_FALSE(StoreGeometry::For(std::uint64_t{1} << 47U, 0).ok());
}

TEST(StoreLayoutTest, SmallBodiesFollowTheirRecordsAndLargeOnesHavePagesFromTheTop) {
  StoreLayout layout(*StoreGeometry::For(64 * kMiB, 0));  // chunks of 1 MiB, small up to 64 KiB
  layout.OpenChunk(7);
  EXPECT_EQ(layout.Append({128, 100}), (StorePlace{7, 0, 128}));
  EXPECT_EQ(layout.Append({64, 0}), (StorePlace{7, 256, 320}));
  EXPECT_EQ(layout.Append({64, kCopiedBodyMax}), (StorePlace{7, 320, 384}));
  EXPECT_EQ(layout.Append({64, kCopiedBodyMax + 1}), (StorePlace{7, 384 + 16384, kMiB - 5 * 4096}));
  EXPECT_EQ(layout.Append({64, 8 * 4096}), (StorePlace{7, 384 + 16384 + 64, kMiB - 13 * 4096}));
  EXPECT_EQ(layout.used_bytes(), kMiB + 5 * kObjectOverhead);
}

TEST(StoreLayoutTest, ObjectOfItsOwnHasItsBodyOnAPageBoundary) {
  StoreLayout layout(Geometry());
  EXPECT_EQ(layout.CreateOwn(3, {128, 5000}), (StorePlace{3, 0, 4096}));
  EXPECT_EQ(layout.CreateOwn(4, {4160, 1}), (StorePlace{4, 0, 8192}));
  EXPECT_EQ(StoreLayout::OwnBytes({128, 5000}), 3U * 4096);
  EXPECT_EQ(layout.used_bytes(), kIndex + 6 * 4096 + 2 * kObjectOverhead);
  EXPECT_TRUE(layout.Drop(3, 0));
  EXPECT_TRUE(layout.Drop(4, 0));
  EXPECT_EQ(layout.used_bytes(), kIndex);
  EXPECT_EQ(layout.memfds(), 0U);
}

TEST(StoreLayoutTest, SizeDecidesWhoLiesInAChunk) {
  const StoreLayout layout(Geometry());
  EXPECT_TRUE(layout.IsSmall({64, 4032}));
  EXPECT_FALSE(layout.IsSmall({64, 4033}));
  EXPECT_FALSE(layout.IsSmall({8192, 0}));
  EXPECT_FALSE(layout.IsSmall({64, UINT64_MAX}));
  EXPECT_EQ(layout.Footprint({64, 100}), kObjectOverhead + 192);
  EXPECT_EQ(layout.Footprint({64, 5000}), kObjectOverhead + 3 * 4096);
}

TEST(StoreLayoutTest, FullChunkWithoutLiveObjectsIsRetiredAndTheOpenOneIsNot) {
  StoreLayout layout(Geometry());
  layout.OpenChunk(1);
  const StorePlace first = layout.Append({64, 64});
  EXPECT_FALSE(layout.Drop(1, first.record_offset)) << "it is open";
  EXPECT_EQ(layout.Append({64, 64}).record_offset, 128U) << "dead bytes are not used again";
  EXPECT_EQ(layout.OpenChunk(2), std::nullopt);
  EXPECT_TRUE(layout.Drop(1, 128));
  EXPECT_EQ(layout.OpenChunk(3), 2U) << "nothing was ever in it";
  EXPECT_EQ(layout.used_bytes(), kIndex + kChunk);
}

TEST(StoreLayoutTest, OneChunkIsKeptFreeForCleaning) {
  StoreLayout layout(Geometry());
  std::uint64_t memfd = 0;
  while (layout.NextStepToCreate({64, 8192}, 0) == Step::kPlace) {
    layout.CreateOwn(++memfd, {64, 8192});
  }
  EXPECT_LE(layout.used_bytes(), kMemory - kChunk);
  EXPECT_GT(layout.used_bytes() + 3 * 4096 + kObjectOverhead, kMemory - kChunk);
  EXPECT_EQ(layout.NextStepToCreate({64, 8192}, 0), Step::kNoRoom) << "there is nothing to clean";
  EXPECT_EQ(layout.NextStepToAppend({64, 64}, 0), Step::kNoRoom);
  layout.Drop(1, 0);
  EXPECT_EQ(layout.NextStepToCreate({64, 8192}, 0), Step::kPlace);
}

TEST(StoreLayoutTest, RetiredBytesBoundWhatIsCreated) {
  StoreLayout layout(Geometry());
  EXPECT_EQ(layout.NextStepToCreate({64, 8192}, kMemory / 4), Step::kPlace);
  EXPECT_EQ(layout.NextStepToCreate({64, 8192}, kMemory / 4 + 1), Step::kNoRoom);
  EXPECT_EQ(layout.NextStepToAppend({64, 64}, kMemory), Step::kOpenChunk);
  const std::uint64_t most = kMemory / 4 + kMemory - kIndex - kChunk;
  EXPECT_EQ(layout.NextStepToAppend({64, 64}, most), Step::kOpenChunk);
  EXPECT_EQ(layout.NextStepToAppend({64, 64}, most + 1), Step::kNoRoom);
  layout.OpenChunk(1);
  EXPECT_EQ(layout.NextStepToAppend({64, 64}, most + kMemory), Step::kPlace)
      << "what exists may be used";
}

TEST(StoreLayoutTest, BeyondTheMostMemfdsNoObjectGetsOneOfItsOwn) {
  StoreLayout layout(*StoreGeometry::For(256 * kMiB, 0));
  for (std::uint64_t id = 1; id <= kMemfdsMax; ++id) {
    ASSERT_EQ(layout.NextStepToCreate({64, 0}, 0), Step::kPlace);
    layout.CreateOwn(id, {64, 0});
  }
  EXPECT_EQ(layout.NextStepToCreate({64, 0}, 0), Step::kNoRoom);
  EXPECT_EQ(layout.NextStepToAppend({64, 0}, 0), Step::kOpenChunk);
}

TEST(StoreLayoutTest, ChunkWithTheLeastLiveBytesIsCleanedUnlessNothingIsGained) {
  StoreLayout layout(Geometry());
  const ObjectSize size{64, 4032};  // 16 fill a chunk
  for (std::uint64_t chunk = 1; chunk <= 3; ++chunk) {
    layout.OpenChunk(chunk);
    for (int i = 0; i < 16; ++i) layout.Append(size);
  }
  EXPECT_EQ(layout.ChunkToClean(), std::nullopt) << "all is alive";
  layout.Drop(2, 4096);
  EXPECT_EQ(layout.ChunkToClean(), 2U);
  layout.Drop(1, 0);
  layout.Drop(1, 4096);
  EXPECT_EQ(layout.ChunkToClean(), 1U);
  for (std::uint64_t i = 0; i < 3; ++i) layout.Drop(3, i * 4096);
  EXPECT_EQ(layout.ChunkToClean(), 1U) << "the open one is not cleaned";
  ASSERT_EQ(layout.NextStepToMove(size), Step::kOpenChunk);
  layout.OpenChunk(4);
  const std::vector<PlacedObject> objects = layout.LiveObjects(1);
  ASSERT_EQ(objects.size(), 14U);
  const std::uint64_t used = layout.used_bytes();
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const StoreLayout::Moved moved = layout.Move(objects[i]);
    EXPECT_EQ(moved.to.record_offset, i * 4096);
    EXPECT_EQ(moved.retired, i + 1 == objects.size());
  }
  EXPECT_EQ(layout.used_bytes(), used - kChunk);
}

TEST(StoreLayoutTest, PromisesOfTheCallerAreChecked) {
  StoreLayout layout(Geometry());
  layout.OpenChunk(1);
  EXPECT_DEATH(layout.OpenChunk(1), "memfd");
  EXPECT_DEATH(layout.CreateOwn(1, {64, 0}), "memfd");
  EXPECT_DEATH(layout.Append({63, 0}), "record_bytes");
  EXPECT_DEATH(layout.Append({64, kChunk}), "IsSmall");
  const StorePlace place = layout.Append({64, 0});
  EXPECT_DEATH(layout.Drop(1, place.record_offset + 64), "alive");
  EXPECT_DEATH(layout.Drop(9, 0), "own");
  layout.Drop(1, place.record_offset);
  EXPECT_DEATH(layout.Drop(1, place.record_offset), "alive");
}

/// A store beside the layout, that knows each byte: what it is for, and whether it was written.
class Model {
 public:
  /// Half of the seeds insert small objects only, which is the hardest for cleaning.
  explicit Model(unsigned seed, std::uint64_t memory)
      : random_(seed),
        layout_(*StoreGeometry::For(memory, memory / 32)),
        own_percent_(seed / 2 % 2 * 10),
        kill_percent_(seed / 4 % 2 * 30) {}

  void Step() {
    const std::uint64_t choice = random_() % 100;
    if (choice < own_percent_) {
      InsertOwn();
    } else if (choice < own_percent_ + kill_percent_ && !objects_.empty()) {
      Kill(random_() % objects_.size());
    } else {
      InsertSmall();
    }
    Check();
  }

  std::string trace() const { return trace_; }
  std::uint64_t cleaned() const { return cleaned_; }
  std::uint64_t passed() const { return passed_; }

 private:
  struct Region {
    std::uint64_t begin;
    std::uint64_t end;
    bool sendfile;
  };

  ObjectSize RandomSmall() {
    const std::uint64_t max = layout_.geometry().SmallMax();
    ObjectSize size{.record_bytes = 64 * (1 + random_() % 8)};
    const std::uint64_t scale = max >> (random_() % 8);
    size.body_bytes = std::min(random_() % (scale + 1), max - size.record_bytes);
    return size;
  }

  /// As a policy does it: never more than the capacity, the victims at random.
  void EvictFor(std::uint64_t footprint) {
    while (footprints_ + footprint > layout_.geometry().PolicyCapacity()) {
      Kill(random_() % objects_.size());
    }
  }

  void InsertSmall() {
    const ObjectSize size = RandomSmall();
    EvictFor(layout_.Footprint(size));
    for (int cleaned = 0;;) {
      const StoreLayout::Step step = layout_.NextStepToAppend(size, 0);
      if (step == Step::kPlace) return Add(layout_.Append(size), size);
      if (step == Step::kOpenChunk) {
        Open();
      } else if (step == Step::kClean && ++cleaned <= 4) {
        Clean();
      } else {
        ++passed_;
        return;
      }
    }
  }

  void InsertOwn() {
    const std::uint64_t max = layout_.geometry().memory_bytes / 16;
    const ObjectSize size{.record_bytes = 64 * (1 + random_() % 100),
                          .body_bytes = random_() % max};
    EvictFor(StoreLayout::OwnBytes(size) + kObjectOverhead);
    for (int cleaned = 0;;) {
      const StoreLayout::Step step = layout_.NextStepToCreate(size, 0);
      if (step == Step::kPlace) {
        ++memfds_;
        regions_[memfds_] = {};
        bytes_[memfds_] = StoreLayout::OwnBytes(size);
        return Add(layout_.CreateOwn(memfds_, size), size);
      }
      if (step != Step::kClean || ++cleaned > 4) return;
      Clean();
    }
  }

  void Open() {
    ++memfds_;
    regions_[memfds_] = {};
    bytes_[memfds_] = layout_.geometry().chunk_bytes;
    if (const auto retired = layout_.OpenChunk(memfds_)) Retire(*retired);
  }

  void Clean() {
    const std::optional<std::uint64_t> chunk = layout_.ChunkToClean();
    ASSERT_TRUE(chunk.has_value());
    ++cleaned_;
    const std::vector<PlacedObject> objects = layout_.LiveObjects(*chunk);
    ASSERT_FALSE(objects.empty()) << "it would have been retired";
    const std::uint64_t memfds = memfds_;
    bool retired = false;
    for (const PlacedObject& object : objects) {
      ASSERT_FALSE(retired);
      if (layout_.NextStepToMove(object.size) == Step::kOpenChunk) Open();
      EXPECT_LE(layout_.used_bytes(), layout_.geometry().memory_bytes);
      const StoreLayout::Moved moved = layout_.Move(object);
      retired = moved.retired;
      const auto moving = std::ranges::find(objects_, object);
      ASSERT_NE(moving, objects_.end());
      moving->place = moved.to;
      Write(moved.to, object.size);
    }
    EXPECT_LE(memfds_ - memfds, 1U) << "one new chunk is enough for what was in one";
    ASSERT_TRUE(retired);
    Retire(*chunk);
  }

  void Add(const StorePlace& place, const ObjectSize& size) {
    objects_.push_back({place, size});
    footprints_ += layout_.Footprint(size);
    Write(place, size);
    trace_ += std::to_string(place.memfd) + ":" + std::to_string(place.record_offset) + " ";
  }

  void Kill(std::size_t i) {
    const PlacedObject object = objects_[i];
    objects_[i] = objects_.back();
    objects_.pop_back();
    footprints_ -= layout_.Footprint(object.size);
    if (layout_.Drop(object.place.memfd, object.place.record_offset)) Retire(object.place.memfd);
  }

  void Retire(std::uint64_t memfd) {
    ASSERT_EQ(regions_.erase(memfd), 1U);
    bytes_.erase(memfd);
    for (const PlacedObject& object : objects_) EXPECT_NE(object.place.memfd, memfd);
  }

  /// No byte is written twice, none beyond the end, and none in a page that sendfile was given.
  void Write(const StorePlace& place, const ObjectSize& size) {
    const std::uint64_t body_end = place.body_offset + size.body_bytes;
    const bool own = !layout_.IsChunk(place.memfd);
    const bool sendfile = size.body_bytes > 0 && (own || size.body_bytes > kCopiedBodyMax);
    std::vector<Region> added{
        {place.record_offset, place.record_offset + size.record_bytes, false}};
    if (size.body_bytes > 0) added.push_back({place.body_offset, body_end, sendfile});
    for (const Region& region : added) {
      ASSERT_LE(region.end, bytes_.at(place.memfd));
      EXPECT_EQ(region.begin % (region.sendfile ? 4096 : 64), 0U);
      for (const Region& old : regions_.at(place.memfd)) {
        const std::uint64_t unit = region.sendfile || old.sendfile ? 4096 : 1;
        const bool apart = (region.end + unit - 1) / unit <= old.begin / unit ||
                           (old.end + unit - 1) / unit <= region.begin / unit;
        ASSERT_TRUE(apart) << region.begin << " and " << old.begin << " of " << place.memfd;
      }
      regions_.at(place.memfd).push_back(region);
    }
  }

  void Check() {
    std::uint64_t used = layout_.geometry().index_bytes + kObjectOverhead * objects_.size();
    for (const auto& [memfd, bytes] : bytes_) used += bytes;
    ASSERT_EQ(layout_.used_bytes(), used);
    ASSERT_LE(used, layout_.geometry().UsableBytes());
    ASSERT_EQ(layout_.objects(), objects_.size());
    ASSERT_EQ(layout_.memfds(), bytes_.size());
  }

  std::mt19937_64 random_;
  StoreLayout layout_;
  std::uint64_t own_percent_;
  std::uint64_t kill_percent_;
  std::vector<PlacedObject> objects_;
  std::uint64_t footprints_ = 0;
  std::map<std::uint64_t, std::uint64_t> bytes_;
  std::map<std::uint64_t, std::vector<Region>> regions_;
  std::uint64_t memfds_ = 0;
  std::uint64_t cleaned_ = 0;
  std::uint64_t passed_ = 0;
  std::string trace_;
};

class StoreLayoutModelTest : public ::testing::TestWithParam<unsigned> {};

TEST_P(StoreLayoutModelTest, InvariantsHoldAndSmallObjectsFindRoom) {
  // With the larger memory some small bodies have pages of their own.
  Model model(GetParam(), GetParam() % 2 == 0 ? 4 * kMiB : 32 * kMiB);
  for (int step = 0; step < 30'000 && !HasFatalFailure(); ++step) model.Step();
  EXPECT_LE(model.passed(), 3U) << "seed " << GetParam();
  // Where objects also die for other reasons than lack of room, less is left to clean.
  if (GetParam() / 4 % 2 == 0) {
    EXPECT_GT(model.cleaned(), 20U) << "seed " << GetParam();
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, StoreLayoutModelTest, ::testing::Range(0U, 16U));

TEST(StoreLayoutRepeatTest, OneSeedTwiceGivesTheSamePlaces) {
  Model first(42, 4 * kMiB);
  Model second(42, 4 * kMiB);
  for (int step = 0; step < 2'000; ++step) {
    first.Step();
    second.Step();
  }
  EXPECT_EQ(first.trace(), second.trace());
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
