#include "tests/sim/linearizability.h"

#include <fmt/format.h>

namespace ds::sim {

std::string_view Name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kLinearizable:
      return "linearizable";
    case Verdict::kNotLinearizable:
      return "not linearizable";
    case Verdict::kUnknown:
      return "unknown";
  }
  CHECK(false);
}

namespace internal {
namespace {

constexpr std::size_t kFirstTable = 64;

std::uint64_t Hash(std::span<const std::uint64_t> words) {
  std::uint64_t hash = 0x9e3779b97f4a7c15;
  for (const std::uint64_t word : words) {
    hash = (hash ^ word) * 0xbf58476d1ce4e5b9;
    hash ^= hash >> 32U;
  }
  return hash;
}

}  // namespace

bool ConfigurationSet::Insert(std::span<const std::uint64_t> taken,
                              std::span<const std::uint64_t> open) {
  CHECK(open.size() == open_words_);
  const std::size_t row = FindOrAdd(taken);
  for (std::uint64_t set = rows_[row].last_open; set != kNone; set = opens_[set]) {
    bool subset = true;
    for (std::size_t i = 0; i < open_words_ && subset; ++i) {
      subset = (opens_[set + 1 + i] & ~open[i]) == 0;
    }
    if (subset) return false;
  }
  const std::uint64_t added = opens_.size();
  opens_.push_back(rows_[row].last_open);
  opens_.insert(opens_.end(), open.begin(), open.end());
  rows_[row].last_open = added;
  ++size_;
  return true;
}

std::size_t ConfigurationSet::FindOrAdd(std::span<const std::uint64_t> taken) {
  if (rows_.size() * 2 >= table_.size()) Grow();
  const std::uint64_t hash = Hash(taken);
  std::size_t at = hash & (table_.size() - 1);
  for (; table_[at] != 0; at = (at + 1) & (table_.size() - 1)) {
    const Row& row = rows_[table_[at] - 1];
    if (row.hash == hash && row.length == taken.size() &&
        std::equal(taken.begin(), taken.end(),
                   words_.begin() + static_cast<std::ptrdiff_t>(row.begin))) {
      return table_[at] - 1;
    }
  }
  rows_.push_back({hash, words_.size(), taken.size(), kNone});
  words_.insert(words_.end(), taken.begin(), taken.end());
  table_[at] = static_cast<std::uint32_t>(rows_.size());
  return rows_.size() - 1;
}

void ConfigurationSet::Grow() {
  table_.assign(std::max(kFirstTable, table_.size() * 2), 0);
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    std::size_t at = rows_[i].hash & (table_.size() - 1);
    while (table_[at] != 0) at = (at + 1) & (table_.size() - 1);
    table_[at] = static_cast<std::uint32_t>(i + 1);
  }
}

std::string OperationLine(TimePoint zero, TimePoint invoked, TimePoint ended, bool returned,
                          std::uint64_t client, std::string_view what) {
  const std::string end =
      returned ? fmt::format("{:.6f}", ToSeconds(ended - zero)) : std::string("?");
  return fmt::format("  [{:.6f} .. {}] client {}: {}\n", ToSeconds(invoked - zero), end, client,
                     what);
}

}  // namespace internal
}  // namespace ds::sim
