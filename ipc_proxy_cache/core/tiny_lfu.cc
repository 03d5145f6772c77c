#include "ipc_proxy_cache/core/tiny_lfu.h"

#include <algorithm>
#include <cmath>

#include "common/base/check.h"

namespace ds::ipc_proxy_cache {
TinyLfuKnobs g_knobs;

FrequencySketch::FrequencySketch()
    : max_((1U << g_knobs.counter_bits) - 1), width_(0) { Reserve(1); }
void FrequencySketch::Reserve(std::size_t objects) {
  objects_ = std::max<std::size_t>(objects, 128);
  std::size_t w = std::max<std::size_t>(width_, 128*4);
  while (w < objects * 4) w *= 2;  // per row
  if (w == width_) return;
  std::vector<std::uint16_t> n(w * 4);
  if (width_) for (unsigned r = 0; r < 4; ++r) for (std::size_t i = 0; i < w; ++i) n[r * w + i] = counters_[r * width_ + (i & (width_ - 1))];
  counters_ = n;
  width_ = w;
  if (g_knobs.doorkeeper) door_.assign(w * 4, false);
}
std::size_t FrequencySketch::At(const KeyHash& key, unsigned row) const {
  const std::uint64_t h = row == 0 ? key.low : row == 1 ? key.high : row == 2 ? key.low >> 32 : key.high >> 32;
  return row * width_ + (h & (width_ - 1));
}
std::uint64_t FrequencySketch::Estimate(const KeyHash& key) const {
  std::uint64_t m = UINT64_MAX;
  for (unsigned r = 0; r < 4; ++r) m = std::min<std::uint64_t>(m, counters_[At(key, r)]);
  if (g_knobs.doorkeeper && door_[key.low % door_.size()] && door_[key.high % door_.size()]) ++m;
  return m;
}
void FrequencySketch::Add(const KeyHash& key, std::uint64_t times) {
  if (g_knobs.doorkeeper) {
    auto a = door_[key.low % door_.size()], b = door_[key.high % door_.size()];
    if (!(a && b)) { a = true; b = true; --times; ++additions_; }
  }
  std::uint64_t m = UINT64_MAX;
  for (unsigned r = 0; r < 4; ++r) m = std::min<std::uint64_t>(m, counters_[At(key, r)]);
  const std::uint64_t target = std::min(m + std::min<std::uint64_t>(times, max_), max_);
  for (unsigned r = 0; r < 4; ++r) {
    auto& c = counters_[At(key, r)];
    c = static_cast<std::uint16_t>(std::max<std::uint64_t>(c, target));
  }
  additions_ += target - m;
  if (additions_ >= objects_ * static_cast<std::uint64_t>(g_knobs.sample)) {
    for (auto& c : counters_) c = static_cast<std::uint16_t>(c >> 1U);
    additions_ /= 2;
    if (g_knobs.doorkeeper) door_.assign(door_.size(), false);
  }
}

TinyLfu::TinyLfu(std::uint64_t capacity_bytes)
    : capacity_(capacity_bytes), buckets_(64, kNone), window_share_(g_knobs.window), step_(g_knobs.step) {}

std::uint64_t TinyLfu::Available() const { return capacity_ - ListOf(Segment::kPinned).bytes; }
std::uint64_t TinyLfu::WindowMax() const {
  return static_cast<std::uint64_t>(window_share_ * static_cast<double>(Available()));
}
std::uint64_t TinyLfu::bytes() const {
  std::uint64_t b = 0;
  for (const auto& l : lists_) b += l.bytes;
  return b;
}
TinyLfu::Index TinyLfu::Find(const KeyHash& key) const {
  Index i = buckets_[key.low & (buckets_.size() - 1)];
  while (i != kNone && !(entries_[i].key == key)) i = entries_[i].next_in_bucket;
  return i;
}
TinyLfu::Index TinyLfu::Create(const KeyHash& key, std::uint64_t bytes) {
  if (objects_ == buckets_.size()) {
    buckets_.assign(buckets_.size() * 2, kNone);
    for (auto& l : lists_)
      for (Index i = l.oldest; i != kNone; i = entries_[i].newer) {
        auto& b = buckets_[entries_[i].key.low & (buckets_.size() - 1)];
        entries_[i].next_in_bucket = b;
        b = i;
      }
  }
  Index i = free_;
  if (i != kNone) free_ = entries_[i].next_in_bucket;
  else { i = static_cast<Index>(entries_.size()); entries_.emplace_back(); }
  auto& b = buckets_[key.low & (buckets_.size() - 1)];
  entries_[i] = {.key = key, .bytes = bytes, .next_in_bucket = b};
  b = i;
  ++objects_;
  sketch_.Reserve(objects_);
  return i;
}
void TinyLfu::Destroy(Index i) {
  Detach(i);
  Index* at = &buckets_[entries_[i].key.low & (buckets_.size() - 1)];
  while (*at != i) at = &entries_[*at].next_in_bucket;
  *at = entries_[i].next_in_bucket;
  entries_[i].next_in_bucket = free_;
  free_ = i;
  --objects_;
}
void TinyLfu::Append(Segment s, Index i) {
  auto& l = ListOf(s);
  auto& e = entries_[i];
  e.segment = s; e.older = l.newest; e.newer = kNone;
  (l.newest == kNone ? l.oldest : entries_[l.newest].newer) = i;
  l.newest = i;
  l.bytes += e.bytes;
}
void TinyLfu::Detach(Index i) {
  auto& e = entries_[i];
  auto& l = ListOf(e.segment);
  (e.older == kNone ? l.oldest : entries_[e.older].newer) = e.newer;
  (e.newer == kNone ? l.newest : entries_[e.newer].older) = e.older;
  l.bytes -= e.bytes;
}
double TinyLfu::Score(const KeyHash& key, std::uint64_t bytes) const {
  const double f = static_cast<double>(sketch_.Estimate(key));
  return g_knobs.alpha == 0 ? f : f * std::pow(static_cast<double>(bytes), g_knobs.alpha);
}
bool TinyLfu::MakeRoom(const KeyHash& key, std::uint64_t bytes, std::vector<KeyHash>* evicted) {
  if (bytes > MainMax()) return false;
  std::uint64_t room = MainMax() - std::min(MainMax(), MainBytes());
  const double score = Score(key, bytes);
  double sum = 0;
  victims_.clear();
  Segment s = Segment::kProbation;
  Index i = ListOf(s).oldest;
  bool ok = true;
  std::uint64_t over = MainBytes() > MainMax() ? MainBytes() - MainMax() : 0;
  while (room < bytes + over) {
    if (i == kNone) { CHECK(s == Segment::kProbation); s = Segment::kProtected; i = ListOf(s).oldest; continue; }
    const auto& e = entries_[i];
    ++inspected_;
    victims_.push_back(i);
    if (g_knobs.aggregate) sum += Score(e.key, e.bytes); else sum = Score(e.key,e.bytes);
    if (sum >= score) { ok = false; break; }
    room += e.bytes;
    i = e.newer;
  }
  if (!ok) {
    if (g_knobs.promote_rejecting)
      for (const Index v : victims_) Move(entries_[v].segment, v);
    return false;
  }
  for (const Index v : victims_) {
    evicted->push_back(entries_[v].key);
    Destroy(v);
  }
  return true;
}
TinyLfu::Insertion TinyLfu::Insert(const KeyHash& key, std::uint64_t bytes) {
  Insertion r;
  Remove(key);
  if (bytes > Available()) return r;
  if (bytes > WindowMax()) {
    if (!MakeRoom(key, bytes, &r.evicted)) return r;
    r.admitted = true;
    Append(Segment::kProbation, Create(key, bytes));
    return r;
  }
  r.admitted = true;
  Append(Segment::kWindow, Create(key, bytes));
  while (ListOf(Segment::kWindow).bytes > WindowMax()) {
    const Index c = ListOf(Segment::kWindow).oldest;
    if (MakeRoom(entries_[c].key, entries_[c].bytes, &r.evicted)) Move(Segment::kProbation, c);
    else { r.evicted.push_back(entries_[c].key); Destroy(c); }
  }
  return r;
}
bool TinyLfu::Remove(const KeyHash& key) {
  const Index i = Find(key);
  if (i == kNone) return false;
  Destroy(i);
  return true;
}
void TinyLfu::RecordAccess(const KeyHash& key, std::uint64_t times) {
  sketch_.Add(key, times);
  const Index i = Find(key);
  accesses_ += times;
  if (i != kNone) {
    hits_ += times;
    switch (entries_[i].segment) {
      case Segment::kWindow: Move(Segment::kWindow, i); break;
      case Segment::kPinned: break;
      default:
        Move(Segment::kProtected, i);
        while (ListOf(Segment::kProtected).bytes * 5 > MainMax() * 4)
          Move(Segment::kProbation, ListOf(Segment::kProtected).oldest);
    }
  }
  if (g_knobs.adaptive && accesses_ >= 10 * std::max<std::size_t>(objects_, 128)) Adapt();
}
void TinyLfu::Adapt() {
  const double ratio = static_cast<double>(hits_) / static_cast<double>(accesses_);
  hits_ = accesses_ = 0;
  const double change = ratio - hit_ratio_;
  hit_ratio_ = ratio;
  if (change < 0) step_ = -step_;
  const double amount = step_;
  step_ = std::abs(change) >= 0.05 ? (step_ > 0 ? g_knobs.step : -g_knobs.step) : step_ * 0.98;
  window_share_ = std::clamp(window_share_ + amount, 0.01, 0.8);
  while (ListOf(Segment::kWindow).bytes > WindowMax()) Move(Segment::kProbation, ListOf(Segment::kWindow).oldest);
  while (MainBytes() > MainMax()) {
    const Index v = ListOf(Segment::kProbation).oldest != kNone ? ListOf(Segment::kProbation).oldest : ListOf(Segment::kProtected).oldest;
    if (ListOf(Segment::kWindow).bytes + entries_[v].bytes > WindowMax()) break;
    Move(Segment::kWindow, v);
  }
}
}  // namespace ds::ipc_proxy_cache
