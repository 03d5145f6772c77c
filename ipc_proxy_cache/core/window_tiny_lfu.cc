#include "ipc_proxy_cache/core/window_tiny_lfu.h"

#include <algorithm>
#include <cmath>

#include "common/base/check.h"

namespace ds::ipc_proxy_cache {
namespace {

constexpr std::size_t kBucketsMin = 64;
/// So many victims are looked at one by one; those behind them are taken to be like them.
constexpr std::size_t kVictimsSampled = 64;

}  // namespace

WindowTinyLfu::WindowTinyLfu(std::uint64_t capacity_bytes, double window_share)
    : capacity_(capacity_bytes), window_share_(window_share), buckets_(kBucketsMin, kNone) {
  CHECK(window_share >= 0 && window_share <= 1);
}

double WindowTinyLfu::Worth(std::uint64_t frequency, std::uint64_t bytes) {
  return static_cast<double>(frequency) * std::sqrt(static_cast<double>(bytes));
}

Insertion WindowTinyLfu::Insert(const KeyHash& key, std::uint64_t bytes,
                                const FrequencySketch& sketch) {
  CHECK(!IsPinned(key));
  Erase(key);
  Insertion insertion;
  if (bytes > WindowMax()) {
    if (!MakeRoom(key, bytes, sketch, &insertion.evicted)) return insertion;
    Create(key, bytes, Segment::kProbation);
  } else {
    Create(key, bytes, Segment::kWindow);
  }
  insertion.admitted = true;
  while (WindowBytes() > WindowMax()) {
    const Index candidate = ListOf(Segment::kWindow).oldest;
    const Entry entry = entries_[candidate];
    if (MakeRoom(entry.key, entry.bytes, sketch, &insertion.evicted)) {
      Move(Segment::kProbation, candidate);
    } else {
      Evict(candidate, &insertion.evicted);
    }
  }
  return insertion;
}

Insertion WindowTinyLfu::InsertPinned(const KeyHash& key, std::uint64_t bytes) {
  Erase(key);
  Insertion insertion;
  if (bytes > Available()) return insertion;
  insertion.admitted = true;
  Create(key, bytes, Segment::kPinned);
  Trim(&insertion.evicted);
  return insertion;
}

bool WindowTinyLfu::Erase(const KeyHash& key) {
  const Index i = Find(key);
  if (i == kNone) return false;
  Destroy(i);
  return true;
}

bool WindowTinyLfu::Touch(const KeyHash& key) {
  const Index i = Find(key);
  if (i == kNone) return false;
  switch (entries_[i].segment) {
    case Segment::kPinned:
      break;
    case Segment::kWindow:
      Move(Segment::kWindow, i);
      break;
    case Segment::kProbation:
    case Segment::kProtected:
      Move(Segment::kProtected, i);
      while (ListOf(Segment::kProtected).bytes > MainMax() / 5 * 4) {
        Move(Segment::kProbation, ListOf(Segment::kProtected).oldest);
      }
      break;
  }
  return true;
}

void WindowTinyLfu::SetWindowShare(double share) {
  CHECK(share >= 0 && share <= 1);
  window_share_ = share;
  PassWindowOn();
  while (MainBytes() > MainMax()) Move(Segment::kWindow, OldestInMain());
}

std::vector<KeyHash> WindowTinyLfu::SetCapacity(std::uint64_t bytes) {
  CHECK(bytes >= pinned_bytes());
  capacity_ = bytes;
  std::vector<KeyHash> evicted;
  Trim(&evicted);
  return evicted;
}

std::optional<std::uint64_t> WindowTinyLfu::BytesOf(const KeyHash& key) const {
  const Index i = Find(key);
  if (i == kNone) return std::nullopt;
  return entries_[i].bytes;
}

bool WindowTinyLfu::IsPinned(const KeyHash& key) const {
  const Index i = Find(key);
  return i != kNone && entries_[i].segment == Segment::kPinned;
}

std::uint64_t WindowTinyLfu::bytes() const {
  std::uint64_t sum = 0;
  for (const List& list : lists_) sum += list.bytes;
  return sum;
}

std::uint64_t WindowTinyLfu::WindowMax() const {
  const auto max = static_cast<std::uint64_t>(window_share_ * static_cast<double>(Available()));
  return std::min(max, Available());  // a double does not hold all 64 bits
}

WindowTinyLfu::Index WindowTinyLfu::OldestInMain() const {
  const Index probation = ListOf(Segment::kProbation).oldest;
  return probation != kNone ? probation : ListOf(Segment::kProtected).oldest;
}

bool WindowTinyLfu::MakeRoom(const KeyHash& key, std::uint64_t bytes, const FrequencySketch& sketch,
                             std::vector<KeyHash>* evicted) {
  if (bytes > MainMax()) return false;
  const double worth = Worth(sketch.Estimate(key), bytes);
  const std::uint64_t room = MainMax() - MainBytes();
  std::uint64_t freed = 0;
  double lost = 0;
  bool refused = false;
  victims_.clear();
  for (Index i = OldestInMain(); room + freed < bytes && !refused;) {
    const Entry& victim = entries_[i];
    victims_.push_back(i);
    freed += victim.bytes;
    if (victims_.size() <= kVictimsSampled) {
      lost += Worth(sketch.Estimate(victim.key), victim.bytes);
      double all = lost;
      if (victims_.size() == kVictimsSampled && room + freed < bytes) {
        all *= static_cast<double>(bytes - room) / static_cast<double>(freed);
      }
      refused = all >= worth;
    }
    const bool last_of_probation = victim.newer == kNone && victim.segment == Segment::kProbation;
    i = last_of_probation ? ListOf(Segment::kProtected).oldest : victim.newer;
  }
  for (const Index victim : victims_) {
    if (refused) {
      Move(entries_[victim].segment, victim);  // spared: to the end of the queue
    } else {
      Evict(victim, evicted);
    }
  }
  return !refused;
}

void WindowTinyLfu::PassWindowOn() {
  while (WindowBytes() > WindowMax()) {
    const Index i = ListOf(Segment::kWindow).oldest;
    if (MainBytes() + entries_[i].bytes > MainMax()) return;
    Move(Segment::kProbation, i);
  }
}

void WindowTinyLfu::Trim(std::vector<KeyHash>* evicted) {
  while (MainBytes() > MainMax()) Evict(OldestInMain(), evicted);
  PassWindowOn();
  while (WindowBytes() > WindowMax()) Evict(ListOf(Segment::kWindow).oldest, evicted);
}

WindowTinyLfu::Index WindowTinyLfu::Find(const KeyHash& key) const {
  Index i = buckets_[key.low & (buckets_.size() - 1)];
  while (i != kNone && !(entries_[i].key == key)) i = entries_[i].next_in_bucket;
  return i;
}

WindowTinyLfu::Index WindowTinyLfu::Create(const KeyHash& key, std::uint64_t bytes,
                                           Segment segment) {
  CHECK(bytes > 0);
  if (objects_ == buckets_.size()) {
    buckets_.assign(buckets_.size() * 2, kNone);
    for (const List& list : lists_) {
      for (Index i = list.oldest; i != kNone; i = entries_[i].newer) {
        Index* const bucket = BucketOf(entries_[i].key);
        entries_[i].next_in_bucket = *bucket;
        *bucket = i;
      }
    }
  }
  Index i = free_;
  if (i != kNone) {
    free_ = entries_[i].next_in_bucket;
  } else {
    CHECK(entries_.size() < kNone);
    i = static_cast<Index>(entries_.size());
    entries_.emplace_back();
  }
  Index* const bucket = BucketOf(key);
  entries_[i] = {.key = key, .bytes = bytes, .next_in_bucket = *bucket};
  *bucket = i;
  ++objects_;
  Append(segment, i);
  return i;
}

void WindowTinyLfu::Destroy(Index i) {
  Detach(i);
  Index* at = BucketOf(entries_[i].key);
  while (*at != i) at = &entries_[*at].next_in_bucket;
  *at = entries_[i].next_in_bucket;
  entries_[i].next_in_bucket = free_;
  free_ = i;
  --objects_;
}

void WindowTinyLfu::Evict(Index i, std::vector<KeyHash>* evicted) {
  evicted->push_back(entries_[i].key);
  Destroy(i);
}

void WindowTinyLfu::Append(Segment segment, Index i) {
  List& list = ListOf(segment);
  Entry& entry = entries_[i];
  entry.segment = segment;
  entry.older = list.newest;
  entry.newer = kNone;
  (list.newest == kNone ? list.oldest : entries_[list.newest].newer) = i;
  list.newest = i;
  list.bytes += entry.bytes;
}

void WindowTinyLfu::Detach(Index i) {
  const Entry& entry = entries_[i];
  List& list = ListOf(entry.segment);
  (entry.older == kNone ? list.oldest : entries_[entry.older].newer) = entry.newer;
  (entry.newer == kNone ? list.newest : entries_[entry.newer].older) = entry.older;
  list.bytes -= entry.bytes;
}

void WindowTinyLfu::Move(Segment segment, Index i) {
  Detach(i);
  Append(segment, i);
}

}  // namespace ds::ipc_proxy_cache
