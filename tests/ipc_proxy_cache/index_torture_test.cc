#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "ipc_proxy_cache/shm/index_reader.h"
#include "ipc_proxy_cache/shm/index_writer.h"
#include "tests/harness/deadline.h"
#include "tests/harness/eventually.h"

namespace ds::ipc_proxy_cache {
namespace {

using ds::testing::Eventually;
using ds::testing::kDeadline;

constexpr IndexGeometry kGeometry{.slot_count = 32, .live_table_length = 16};
constexpr std::uint64_t kSets = kGeometry.slot_count / kIndexSetSlots;
// More keys than slots in each set, so that keys go and come back in other slots.
constexpr std::uint64_t kKeys = 10 * kSets;
constexpr std::uint64_t kStableKeys = 2 * kSets;  // the first ones are never erased

KeyHash HashOfKey(std::uint64_t key) { return {.low = key, .high = 1 + key / kSets}; }

/// Generation `n` of `key`: no two have one word in common, so a mixture is seen.
IndexEntry Generation(std::uint64_t key, std::uint64_t n) {
  const auto time = static_cast<std::int64_t>(n);
  return {.memfd = n,
          .record_offset = n * kRecordAlignment,
          .flags = static_cast<std::uint32_t>(n * 3),
          .fresh_until_ns = time * 5,
          .stale_until_ns = time * 7,
          .age_zero_ns = time * 1024 + static_cast<std::int64_t>(key)};
}

/// What the n-th generation points at: written once, by plain stores, before it is published.
struct Object {
  std::uint64_t key;
  std::uint64_t n;
};

/// Memory that a child process shares.
template <class T>
std::span<T> MapShared(std::size_t count) {
  void* memory =
      ::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return {};
  return {static_cast<T*>(memory), count};
}

/// The cache: puts, changes and erases at random, one generation after another.
class Changer {
 public:
  Changer(IndexWriter& writer, std::span<Object> objects, unsigned seed)
      : writer_(writer), objects_(objects), random_(seed) {
    for (std::uint64_t key = 0; key < kStableKeys; ++key) Put(key);
  }
  bool done() const { return next_ == objects_.size(); }
  void Step() {
    const std::uint64_t key = random_() % kKeys;
    if (key >= kStableKeys && random_() % 3 == 0) {
      writer_.Erase(HashOfKey(key));
    } else {
      Put(key);
    }
  }

 private:
  void Put(std::uint64_t key) {
    objects_[next_] = {.key = key, .n = next_};
    const KeyHash hash = HashOfKey(key);
    while (writer_.Put(hash, Generation(key, next_)) == IndexWriter::PutResult::kSetFull) {
      const std::vector<KeyHash> occupants = writer_.Occupants(hash);
      const KeyHash victim = occupants[random_() % occupants.size()];
      if (victim.low >= kStableKeys) writer_.Erase(victim);
    }
    ++next_;
  }

  IndexWriter& writer_;
  std::span<Object> objects_;
  std::mt19937_64 random_;
  std::size_t next_ = 1;
};

/// A worker: whatever it finds is one whole generation of the key it looked for, its object is
/// there, and it is never older than one that was found before.
class Observer {
 public:
  Observer(const IndexView& reader, std::span<const Object> objects)
      : reader_(reader), objects_(objects), newest_(kKeys) {}

  bool Look(std::uint64_t key) {
    const std::optional<IndexEntry> entry = reader_.Find(HashOfKey(key));
    if (!entry) return false;
    ++found_;
    const std::uint64_t n = entry->memfd;
    if (n == 0 || n >= objects_.size() || *entry != Generation(key, n) || objects_[n].key != key ||
        objects_[n].n != n || n < newest_[key]) {
      ++wrong_;
      return true;
    }
    newest_[key] = n;
    return true;
  }
  std::uint64_t found() const { return found_; }
  std::uint64_t wrong() const { return wrong_; }

 private:
  const IndexView& reader_;
  std::span<const Object> objects_;
  std::vector<std::uint64_t> newest_;
  std::uint64_t found_ = 0;
  std::uint64_t wrong_ = 0;
};

/// Through the writer's own mapping: ThreadSanitizer knows addresses, not pages, and would not see
/// that an atomic in a second mapping synchronizes.
IndexView ViewOf(const IndexWriter& writer) { return *IndexView::Over(writer.bytes()); }

TEST(IndexTortureTest, ReadersSeeWholeGenerationsThatNeverGoBack) {
  IndexWriter writer = *IndexWriter::Create(kGeometry, HashSecret{});
  std::vector<Object> objects(400'000);
  Changer changer(writer, objects, 1);
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> found = 0;
  std::atomic<std::uint64_t> wrong = 0;
  std::vector<std::jthread> readers;
  for (unsigned i = 0; i < 2; ++i) {
    readers.emplace_back([&, i] {
      const IndexView reader = ViewOf(writer);
      Observer observer(reader, objects);
      std::mt19937_64 random(i);
      while (!stop) observer.Look(random() % kKeys);
      found += observer.found();
      wrong += observer.wrong();
    });
  }
  while (!changer.done()) changer.Step();
  stop = true;
  readers.clear();
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(found, 0U);
}

TEST(IndexTortureTest, KeyThatIsThereThroughoutIsFoundWhileItChanges) {
  IndexWriter writer = *IndexWriter::Create(kGeometry, HashSecret{});
  std::vector<Object> objects(200'000);
  Changer changer(writer, objects, 2);
  std::atomic<bool> stop = false;
  std::jthread worker([&] {
    while (!changer.done() && !stop) changer.Step();
  });
  const IndexView reader = ViewOf(writer);
  for (int round = 0; round < 50'000; ++round) {
    // A busy slot counts as absent, for as long as the writer's thread does not run.
    EXPECT_TRUE(Eventually(kDeadline, "the key is found", [&] {
      return reader.Find(HashOfKey(static_cast<std::uint64_t>(round) % kStableKeys)).has_value();
    }));
    if (::testing::Test::HasFailure()) break;
  }
  stop = true;
}

TEST(IndexTortureTest, RetiredIdIsGoneForWhoeverSawTheCounterGrow) {
  IndexWriter writer = *IndexWriter::Create(kGeometry, HashSecret{});
  constexpr std::uint64_t kIds = 200'000;
  constexpr std::uint64_t kLive = 8;
  std::atomic<bool> stop = false;
  std::uint64_t wrong = 0;
  std::jthread worker([&] {
    const IndexView reader = ViewOf(writer);
    while (!stop) {
      const std::uint64_t retired = reader.retirements();  // the first `retired` ids
      for (std::uint64_t i = 0; i < kLive && i < retired; ++i) {
        if (reader.IsLive(retired - i)) ++wrong;
      }
    }
  });
  for (std::uint64_t id = 1; id <= kIds; ++id) {
    writer.AddLive(id);
    if (id > kLive) writer.Retire(id - kLive);
  }
  stop = true;
  worker.join();
  EXPECT_EQ(wrong, 0U);
}

TEST(IndexTortureTest, WriterKilledAnywhereLeavesWholeGenerationsOrNothing) {
  const std::span<Object> objects = MapShared<Object>(std::size_t{1} << 22U);
  ASSERT_FALSE(objects.empty());
  std::mt19937_64 random(3);
  std::uint64_t found = 0;
  for (unsigned round = 0; round < 40; ++round) {
    IndexWriter writer = *IndexWriter::Create(kGeometry, HashSecret{});
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      Changer changer(writer, objects, round);
      while (!changer.done()) changer.Step();
      for (;;) ::pause();
    }
    const auto reader = IndexReader::Adopt(UniqueFd(::dup(writer.fd())));
    ASSERT_TRUE(reader.ok()) << reader.status();
    Observer observer(reader->view(), objects);
    // The first object is seen before the child is killed, so that it dies at work.
    EXPECT_TRUE(Eventually(kDeadline, "something is found", [&] { return observer.Look(0); }));
    for (std::uint64_t looks = random() % 20'000; looks > 0; --looks) observer.Look(looks % kKeys);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    for (std::uint64_t key = 0; key < kKeys; ++key) observer.Look(key);
    EXPECT_EQ(observer.wrong(), 0U) << "round " << round;
    found += observer.found();
  }
  EXPECT_GT(found, 0U);
  ::munmap(objects.data(), objects.size_bytes());
}

TEST(IndexTortureTest, ReaderKilledAnywhereChangesNothing) {
  IndexWriter writer = *IndexWriter::Create(kGeometry, HashSecret{});
  std::vector<Object> objects(100'000);
  Changer changer(writer, objects, 4);
  for (unsigned round = 0; round < 10; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const IndexView reader = ViewOf(writer);
      for (std::uint64_t key = 0;; key = (key + 1) % kKeys) {
        static_cast<void>(reader.Find(HashOfKey(key)));
      }
    }
    for (int step = 0; step < 5'000; ++step) changer.Step();
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  }
  const IndexView reader = ViewOf(writer);
  Observer observer(reader, objects);
  for (std::uint64_t key = 0; key < kStableKeys; ++key) EXPECT_TRUE(observer.Look(key)) << key;
  EXPECT_EQ(observer.wrong(), 0U);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
