#include "ipc_proxy_cache/core/frequency_sketch.h"

#include <algorithm>
#include <bit>

namespace ds::ipc_proxy_cache {
namespace {

constexpr std::size_t kObjectsMin = 128;
constexpr std::size_t kObjectsPerBlock = 8;
constexpr std::uint64_t kAdditionsPerObject = 10;
constexpr std::uint64_t kCounterMask = 0xf;

}  // namespace

void FrequencySketch::Reserve(std::size_t objects) {
  objects_ = std::max(objects, kObjectsMin);
  const std::size_t before = blocks_.size();
  const std::size_t after = std::bit_ceil((objects_ + kObjectsPerBlock - 1) / kObjectsPerBlock);
  if (after <= before) return;
  blocks_.resize(after);
  if (before == 0) return;
  // A key's position has further bits now, which are unknown: each half gets the counters.
  for (std::size_t i = before; i < after; ++i) blocks_[i] = blocks_[i - before];
}

FrequencySketch::Place FrequencySketch::PlaceOf(const KeyHash& key, std::size_t row) {
  // Bits that choose neither the block nor a bucket of a hash table: the upper 20 of `low`.
  const std::uint64_t column = (key.low >> (44 + 5 * row)) & 0x1fU;
  return {.word = 2 * row + (column >> 4U), .shift = static_cast<unsigned>(column & 0xfU) * 4};
}

std::uint64_t FrequencySketch::Minimum(const Block& block, const KeyHash& key) {
  std::uint64_t minimum = kMax;
  for (std::size_t row = 0; row < kRows; ++row) {
    const auto [word, shift] = PlaceOf(key, row);
    minimum = std::min(minimum, (block.words[word] >> shift) & kCounterMask);
  }
  return minimum;
}

std::uint64_t FrequencySketch::Estimate(const KeyHash& key) const {
  return Minimum(BlockOf(key), key);
}

void FrequencySketch::Add(const KeyHash& key, std::uint64_t times) {
  Block& block = blocks_[key.high & (blocks_.size() - 1)];
  const std::uint64_t before = Minimum(block, key);
  const std::uint64_t after = before + std::min(times, kMax - before);
  for (std::size_t row = 0; row < kRows; ++row) {
    const auto [word, shift] = PlaceOf(key, row);
    const std::uint64_t counter = (block.words[word] >> shift) & kCounterMask;
    if (counter < after) block.words[word] += (after - counter) << shift;
  }
  additions_ += after - before;
  if (additions_ >= kAdditionsPerObject * objects_) Halve();
}

void FrequencySketch::Halve() {
  for (Block& block : blocks_) {
    for (std::uint64_t& word : block.words) word = (word >> 1U) & 0x7777'7777'7777'7777U;
  }
  additions_ /= 2;
}

}  // namespace ds::ipc_proxy_cache
