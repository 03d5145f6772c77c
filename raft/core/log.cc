#include "raft/core/log.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace ds::raft {

Log::Log(LogPosition base, Configuration configuration, const std::vector<EntryPtr>& entries)
    : base_(base) {
  term_starts_.push_back(base);
  configurations_.push_back({base.index, std::move(configuration)});
  for (const EntryPtr& entry : entries) Append(entry);
  saved_ = durable_ = last().index;
}

LogPosition Log::last() const { return entries_.empty() ? base_ : entries_.back()->position; }

std::optional<Term> Log::TermAt(LogIndex index) const {
  if (index == base_.index) return base_.term;
  const EntryPtr& entry = Find(index);
  if (entry == nullptr) return std::nullopt;
  return entry->position.term;
}

const EntryPtr& Log::Find(LogIndex index) const {
  static const EntryPtr kNone;
  if (index <= base_.index || index > last().index) return kNone;
  return entries_[index - base_.index - 1];
}

std::optional<LogPosition> Log::LastNotAbove(LogIndex index, Term term) const {
  index = std::min(index, last().index);
  for (auto start = term_starts_.rbegin(); start != term_starts_.rend(); ++start) {
    if (start->index <= index && start->term <= term) return LogPosition{start->term, index};
    // What is before this term's first entry.
    if (start->index <= index) {
      if (start->index == base_.index) return std::nullopt;
      index = start->index - 1;
    }
  }
  return std::nullopt;
}

std::vector<EntryPtr> Log::Slice(LogIndex first, LogIndex last, std::uint64_t bytes_max) const {
  CHECK(first > base_.index && last <= this->last().index);
  std::vector<EntryPtr> slice;
  std::uint64_t bytes = 0;
  for (LogIndex index = first; index <= last && slice.size() < kSliceEntriesMax; ++index) {
    const EntryPtr& entry = entries_[index - base_.index - 1];
    bytes += entry->data.size();
    if (bytes > bytes_max && !slice.empty()) break;
    slice.push_back(entry);
  }
  return slice;
}

void Log::Append(EntryPtr entry) {
  CHECK(entry->position.index == last().index + 1);
  if (entry->position.term != last().term) term_starts_.push_back(entry->position);
  if (entry->kind == Entry::Kind::kConfiguration) {
    absl::StatusOr<Configuration> configuration = DecodeConfiguration(entry->data);
    CHECK(configuration.ok(), "an entry that nobody validated");
    configurations_.push_back({entry->position.index, std::move(configuration).value()});
  }
  bytes_ += entry->data.size();
  entries_.push_back(std::move(entry));
}

void Log::TruncateFrom(LogIndex first) {
  CHECK(first > base_.index);
  while (last().index >= first && !entries_.empty()) {
    bytes_ -= entries_.back()->data.size();
    entries_.pop_back();
  }
  while (term_starts_.size() > 1 && term_starts_.back().index >= first) term_starts_.pop_back();
  while (configurations_.size() > 1 && configurations_.back().index >= first) {
    configurations_.pop_back();
  }
  // What batches under way have written from `first` on is overwritten by a later one.
  const LogIndex kept = first - 1;
  saved_ = std::min(saved_, kept);
  durable_ = std::min(durable_, kept);
  for (Batch& batch : under_way_) batch.last = std::min(batch.last, kept);
}

void Log::Compact(LogIndex index) {
  if (index <= base_.index) return;
  const std::optional<Term> term = TermAt(index);
  CHECK(term.has_value());
  for (std::uint64_t forgotten = index - base_.index; forgotten > 0; --forgotten) {
    bytes_ -= entries_.front()->data.size();
    entries_.pop_front();
  }
  base_ = {*term, index};
  while (!term_starts_.empty() && term_starts_.front().index <= index) term_starts_.pop_front();
  term_starts_.push_front(base_);
  while (configurations_.size() > 1 && configurations_[1].index <= index) {
    configurations_.pop_front();
  }
}

void Log::Restart(LogPosition base, const Configuration& configuration) {
  CHECK(base.index > LogIndex());
  base_ = base;
  entries_.clear();
  bytes_ = 0;
  term_starts_.assign(1, base);
  configurations_.assign(1, {base.index, configuration});
  saved_ = base.index - 1;
  durable_ = LogIndex();
  for (Batch& batch : under_way_) batch.last = LogIndex();
}

const Configuration& Log::ConfigurationAt(LogIndex index) const {
  auto placed = configurations_.rbegin();
  while (placed->index > index && std::next(placed) != configurations_.rend()) ++placed;
  return placed->configuration;
}

std::vector<EntryPtr> Log::TakeUnsaved(std::uint64_t batch) {
  if (!HasUnsaved()) return {};
  std::vector<EntryPtr> unsaved;
  const LogIndex first = std::max(saved_, base_.index) + 1;
  if (first <= last().index) {
    unsaved.assign(entries_.begin() + static_cast<std::ptrdiff_t>(first - base_.index - 1),
                   entries_.end());
  }
  saved_ = last().index;
  under_way_.push_back({batch, saved_});
  return unsaved;
}

void Log::Persisted(std::uint64_t batch) {
  while (!under_way_.empty() && under_way_.front().number <= batch) {
    durable_ = std::max(durable_, under_way_.front().last);
    under_way_.pop_front();
  }
}

std::uint64_t Log::BatchWith(LogIndex index, std::uint64_t next) const {
  if (index <= durable_) return 0;
  for (const Batch& batch : under_way_) {
    if (batch.last >= index) return batch.number;
  }
  return next;
}

}  // namespace ds::raft
