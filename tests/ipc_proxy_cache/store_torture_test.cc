#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/shm/seqpacket.h"
#include "tests/harness/deadline.h"
#include "tests/ipc_proxy_cache/store_testing.h"

// A cache and its workers in processes of their own, which are killed.

namespace ds::ipc_proxy_cache {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMemory = std::uint64_t{8} << 20U;
constexpr std::uint64_t kKeys = 300;

std::string KeyOf(std::uint64_t key) { return "http://origin/" + std::to_string(key); }

/// What the two ends say: a worker OPEN and RELEASED, a cache OPENED (with a descriptor) and gone.
struct Packet {
  enum class Kind : std::uint64_t { kOpen, kReleased, kChunk, kObject, kGone };
  Kind kind;
  std::uint64_t memfd;
};

bool Send(int socket, const Packet& packet, std::span<const int> descriptors = {}) {
  const auto sent = shm::SendPacket(socket, std::as_bytes(std::span(&packet, 1)), descriptors);
  return sent.ok() && *sent == shm::SendResult::kSent;
}

std::array<UniqueFd, 2> Link() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// Changes the store at random and answers its links. The index goes out as each link's first
/// descriptor.
class Cache {
 public:
  explicit Cache(unsigned seed) : random_(seed), cache_(MakeFifoStore(kMemory)) {}

  bool AddLink(std::uint64_t id, UniqueFd socket) {
    const int index = cache_.store().index().fd();
    if (!Send(socket.get(), {Packet::Kind::kObject, 0}, {&index, 1})) return false;
    links_.emplace(id, std::move(socket));
    return true;
  }

  void Turn() {
    Change();
    for (auto link = links_.begin(); link != links_.end();) {
      link = Answer(link->first, link->second.get()) ? std::next(link) : End(link);
    }
  }
  std::size_t links() const { return links_.size(); }
  const Store& store() const { return cache_.store(); }

 private:
  using Links = std::map<std::uint64_t, UniqueFd>;

  void Change() {
    const std::string key = KeyOf(random_() % kKeys);
    const KeyHash hash = cache_.store().Hash(key);
    const std::size_t size = random_() % ((kMemory / 16 >> random_() % 12) + 1);
    const std::string fields = FieldsOf(++n_, size);
    const std::vector<std::byte> body = BodyOf(n_, size);
    const StoreObject object{.hash = hash, .key = key, .fields = fields};
    if (random_() % 3 > 0) {
      cache_.Insert({.hash = hash, .key = key, .fields = fields, .body = body}, {});
    } else if (const auto fill = cache_.BeginFill(object, size)) {
      std::ranges::copy(body, cache_.store().FillSpace(*fill).begin());
      cache_.store().RaiseFill(*fill, size);
      cache_.PublishFill(*fill, hash, {});
    }
  }

  Links::iterator End(Links::iterator link) {
    cache_.store().holdings().EndLink(link->first);
    return links_.erase(link);
  }

  /// False if the worker has ended.
  bool Answer(std::uint64_t id, int socket) {
    pollfd poll{.fd = socket, .events = POLLIN, .revents = 0};
    while (::poll(&poll, 1, 0) > 0) {
      Packet packet{};
      const auto received =
          shm::ReceivePacket(socket, std::as_writable_bytes(std::span(&packet, 1)), 0);
      if (!received.ok() || received->kind != shm::Received::Kind::kPacket) return false;
      if (packet.kind == Packet::Kind::kReleased) {
        EXPECT_TRUE(cache_.store().holdings().Release(id, packet.memfd));
        continue;
      }
      const auto live = cache_.store().Find(packet.memfd);
      if (!live) {
        if (!Send(socket, {Packet::Kind::kGone, packet.memfd})) return false;
        continue;
      }
      cache_.store().holdings().Hold(id, packet.memfd);
      const auto kind = live->chunk ? Packet::Kind::kChunk : Packet::Kind::kObject;
      if (!Send(socket, {kind, packet.memfd}, {&live->fd, 1})) return false;
    }
    return true;
  }

  std::mt19937_64 random_;
  FifoStore cache_;
  Links links_;
  std::uint64_t n_ = 0;
};

/// Looks up at random, keeps some of what it finds for a while, and checks every byte.
class Worker {
 public:
  Worker(unsigned seed, UniqueFd socket) : random_(seed), socket_(std::move(socket)) {
    Packet packet{};
    auto index = Receive(packet);
    if (index) view_.emplace(*IndexReader::Adopt(std::move(index)));
  }

  /// False when the link has ended.
  bool Turn() {
    if (!view_) return false;
    const std::string key = KeyOf(random_() % kKeys);
    auto found = view_->Lookup(key);
    bool alive = true;
    if (const auto* needs = std::get_if<ReaderView::NeedsMemfd>(&found)) {
      alive = Open(needs->memfd);
      found = view_->Lookup(key);
    }
    if (const auto* hit = std::get_if<ReaderView::Hit>(&found)) {
      Check(*hit->object);
      held_.push_back(hit->object);
    }
    if (held_.size() > 20) {
      const std::size_t i = random_() % held_.size();
      Check(*held_[i]);
      held_[i] = held_.back();
      held_.pop_back();
    }
    if (random_() % 4 == 0) {
      for (const std::uint64_t memfd : view_->Turn()) {
        alive = Send(socket_.get(), {Packet::Kind::kReleased, memfd}) && alive;
      }
    }
    return alive;
  }
  void CheckAllHeld() {
    for (const auto& object : held_) Check(*object);
  }
  std::uint64_t checked() const { return checked_; }
  std::uint64_t wrong() const { return wrong_; }

 private:
  void Check(const CachedObject& object) {
    ++checked_;
    if (!IsWhole(object)) ++wrong_;
  }

  UniqueFd Receive(Packet& packet) {
    auto received =
        shm::ReceivePacket(socket_.get(), std::as_writable_bytes(std::span(&packet, 1)), 1);
    if (!received.ok() || received->descriptors.empty()) return {};
    return std::move(received->descriptors[0]);
  }

  bool Open(std::uint64_t memfd) {
    if (!Send(socket_.get(), {Packet::Kind::kOpen, memfd})) return false;
    Packet packet{.kind = Packet::Kind::kOpen, .memfd = 0};
    UniqueFd fd = Receive(packet);
    if (packet.kind == Packet::Kind::kGone) return true;
    if (!fd) return false;
    const auto kind =
        packet.kind == Packet::Kind::kChunk ? ReaderView::Kind::kChunk : ReaderView::Kind::kObject;
    if (!view_->Map(packet.memfd, std::move(fd), kind).ok()) ++wrong_;
    return true;
  }

  std::mt19937_64 random_;
  UniqueFd socket_;
  std::optional<ReaderView> view_;
  std::vector<std::shared_ptr<const CachedObject>> held_;
  std::uint64_t checked_ = 0;
  std::uint64_t wrong_ = 0;
};

std::size_t OpenDescriptors() {
  const auto begin = std::filesystem::directory_iterator("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin, std::filesystem::directory_iterator{}));
}

/// A worker's process; it exits with 1 when it has seen something wrong.
pid_t StartWorker(unsigned seed, UniqueFd socket) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  Worker worker(seed, std::move(socket));
  while (worker.Turn() && worker.wrong() == 0) {
  }
  worker.CheckAllHeld();
  ::_exit(worker.wrong() == 0 ? 0 : 1);
}

TEST(StoreTortureTest, WorkersKilledAnywhereHarmNobodyAndLeaveNothing) {
  const std::size_t open = OpenDescriptors();
  {
    Cache cache(1);
    std::mt19937_64 random(1);
    std::map<std::uint64_t, pid_t> workers;
    std::uint64_t last = 0;
    const auto start = [&] {
      auto [ours, theirs] = Link();
      ASSERT_TRUE(cache.AddLink(++last, std::move(ours)));
      workers[last] = StartWorker(static_cast<unsigned>(last), std::move(theirs));
      ASSERT_GT(workers[last], 0);
    };
    for (int i = 0; i < 3; ++i) start();
    for (int turn = 0; turn < 4'000; ++turn) {
      cache.Turn();
      if (random() % 100 > 0) continue;
      const auto victim =
          std::next(workers.begin(), static_cast<std::ptrdiff_t>(random() % workers.size()));
      ::kill(victim->second, SIGKILL);
      int status = 0;
      ASSERT_EQ(::waitpid(victim->second, &status, 0), victim->second);
      EXPECT_TRUE(WIFSIGNALED(status)) << "it saw something wrong, or crashed: " << status;
      workers.erase(victim);
      start();
    }
    for (const auto& [id, worker] : workers) ::kill(worker, SIGKILL);
    for (const auto& [id, worker] : workers) {
      int status = 0;
      ASSERT_EQ(::waitpid(worker, &status, 0), worker);
      EXPECT_TRUE(WIFSIGNALED(status)) << status;
    }
    const TimePoint give_up = Clock::now() + testing::kDeadline * testing::kSlowdown;
    while (cache.links() > 0 && Clock::now() < give_up) cache.Turn();
    EXPECT_EQ(cache.links(), 0U);
    EXPECT_EQ(cache.store().holdings().retired_bytes(), 0U);
  }
  EXPECT_EQ(OpenDescriptors(), open);
}

TEST(StoreTortureTest, CacheKilledAnywhereLeavesItsWorkersWholeObjects) {
  const std::size_t open = OpenDescriptors();
  std::mt19937_64 random(2);
  std::uint64_t checked = 0;
  for (unsigned round = 0; round < 15; ++round) {
    auto [ours, theirs] = Link();
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ours.Reset();
      Cache cache(round);
      if (!cache.AddLink(1, std::move(theirs))) ::_exit(1);
      while (cache.links() > 0) cache.Turn();
      ::_exit(0);
    }
    theirs.Reset();
    Worker worker(round, std::move(ours));
    const TimePoint give_up = Clock::now() + testing::kDeadline * testing::kSlowdown;
    while (worker.checked() == 0 && worker.Turn() && Clock::now() < give_up) {
    }
    for (std::uint64_t turns = random() % 2'000; turns > 0; --turns) worker.Turn();
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << status;
    // The index stays as it was, perhaps in the middle of a change.
    for (int turn = 0; turn < 300; ++turn) worker.Turn();
    worker.CheckAllHeld();
    EXPECT_EQ(worker.wrong(), 0U) << "round " << round;
    checked += worker.checked();
  }
  EXPECT_GT(checked, 1000U);
  EXPECT_EQ(OpenDescriptors(), open);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
