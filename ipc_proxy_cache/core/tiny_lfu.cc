#include "ipc_proxy_cache/core/tiny_lfu.h"

#include <algorithm>
#include <limits>

namespace ds::ipc_proxy_cache {
namespace {

/// Of the cache, and of the keys, that a miniature has.
constexpr std::uint64_t kMiniaturePart = 16;
constexpr std::array<double, 5> kWindowShares = {0.01, 0.1, 0.3, 0.6, 0.95};
/// A choice is made once per that many accesses, or per as many as there are objects.
constexpr std::uint64_t kAccessesMin = 128;
/// How much of the past counts at the next choice.
constexpr double kFading = 0.8;
/// What another window must have had more than the present one.
constexpr double kBetter = 1.02;
/// The window changes by 1/64 at a time, so that no access has to move many objects.
constexpr std::uint64_t kSteps = 64;

/// Bits that choose nothing else (frequency_sketch.cc, window_tiny_lfu.cc).
bool InMiniatures(const KeyHash& key) { return key.high >> 60U == 0; }

}  // namespace

TinyLfu::TinyLfu(std::uint64_t capacity_bytes)
    : main_(capacity_bytes, kWindowShares[0]),
      until_choice_(kAccessesMin),
      until_step_(kAccessesMin / kSteps) {
  for (const double share : kWindowShares) {
    miniatures_.push_back({.cache = WindowTinyLfu(capacity_bytes / kMiniaturePart, share)});
  }
}

void TinyLfu::Touch(const KeyHash& key, std::uint64_t times) {
  if (times == 0) return;
  sketch_.Add(key, times);
  main_.Touch(key);
  if (InMiniatures(key) && !main_.IsPinned(key)) {
    const auto bytes = main_.BytesOf(key);
    for (Miniature& miniature : miniatures_) {
      std::uint64_t hits = times;
      auto bytes_here = miniature.cache.BytesOf(key);
      if (bytes_here) {
        miniature.cache.Touch(key);
      } else if (bytes) {  // a miss of the miniature alone: nobody is going to insert it
        miniature.cache.Insert(key, *bytes, sketch_);
        bytes_here = bytes;
        --hits;
      }
      if (bytes_here) miniature.had += WindowTinyLfu::Worth(hits, *bytes_here);
    }
  }
  Adapt(times);
}

Insertion TinyLfu::Insert(const KeyHash& key, std::uint64_t bytes) {
  if (main_.IsPinned(key)) return InsertPinned(key, bytes);
  if (InMiniatures(key)) {
    for (Miniature& miniature : miniatures_) {
      if (miniature.cache.BytesOf(key) != bytes) miniature.cache.Insert(key, bytes, sketch_);
    }
  }
  Insertion insertion = main_.Insert(key, bytes, sketch_);
  sketch_.Reserve(main_.objects());
  return insertion;
}

Insertion TinyLfu::InsertPinned(const KeyHash& key, std::uint64_t bytes) {
  Erase(key);
  Insertion insertion = main_.InsertPinned(key, bytes);
  sketch_.Reserve(main_.objects());
  ResizeMiniatures();
  return insertion;
}

bool TinyLfu::Erase(const KeyHash& key) {
  const bool pinned = main_.IsPinned(key);
  if (InMiniatures(key)) {
    for (Miniature& miniature : miniatures_) miniature.cache.Erase(key);
  }
  const bool erased = main_.Erase(key);
  if (pinned) ResizeMiniatures();
  return erased;
}

std::optional<double> TinyLfu::ValueOf(const KeyHash& key) const {
  const auto bytes = main_.BytesOf(key);
  if (!bytes) return std::nullopt;
  if (main_.IsPinned(key)) return std::numeric_limits<double>::infinity();
  return WindowTinyLfu::Worth(sketch_.Estimate(key), *bytes);
}

void TinyLfu::ResizeMiniatures() {
  for (Miniature& miniature : miniatures_) {
    miniature.cache.SetCapacity((main_.capacity() - main_.pinned_bytes()) / kMiniaturePart);
  }
}

void TinyLfu::Adapt(std::uint64_t times) {
  const std::uint64_t period = std::max<std::uint64_t>(kAccessesMin, main_.objects());
  if (times >= until_choice_) {
    ChooseWindow();
    until_choice_ = period;
  } else {
    until_choice_ -= times;
  }
  if (times < until_step_) {
    until_step_ -= times;
    return;
  }
  until_step_ = period / kSteps;
  constexpr double kStep = 1.0 / kSteps;
  const double change = kWindowShares[chosen_] - main_.window_share();
  if (change != 0) {
    main_.SetWindowShare(main_.window_share() + std::clamp(change, -kStep, kStep));
  }
}

void TinyLfu::ChooseWindow() {
  std::size_t best = chosen_;
  for (std::size_t i = 0; i < miniatures_.size(); ++i) {
    if (miniatures_[i].had > miniatures_[best].had) best = i;
  }
  if (miniatures_[best].had > kBetter * miniatures_[chosen_].had) chosen_ = best;
  for (Miniature& miniature : miniatures_) miniature.had *= kFading;
}

}  // namespace ds::ipc_proxy_cache
