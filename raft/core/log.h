#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "raft/core/configuration.h"
#include "raft/core/types.h"

namespace ds::raft {

/// The entries of one member after those it has forgotten, and how far they are on its disk. Keeps
/// beside them where terms begin and where configurations stand, so that no question is answered by
/// a walk over entries. A value of Node; not thread-safe.
class Log {
 public:
  /// What a member starts with: `entries` follow `base` without a gap, and are durable.
  /// `configuration` is the one as of `base`.
  Log(LogPosition base, Configuration configuration, const std::vector<EntryPtr>& entries);

  /// The newest position that is forgotten; its term is still known.
  LogPosition base() const { return base_; }
  LogPosition last() const;

  /// None outside of [base, last].
  std::optional<Term> TermAt(LogIndex index) const;
  /// The entry of this position is here, or is the base.
  bool Matches(LogPosition position) const { return TermAt(position.index) == position.term; }
  /// Null outside of (base, last]. The reference is good until the log is changed.
  const EntryPtr& Find(LogIndex index) const;
  /// The last position at or before `index` whose term is not above `term`: the one jump over whole
  /// terms by which a leader and a follower find where their logs part (§5.3, end). None if that is
  /// before the base.
  std::optional<LogPosition> LastNotAbove(LogIndex index, Term term) const;
  /// Entries from `first` up to `last`, as many as have together at most `bytes_max` bytes of data,
  /// but one at least, and kSliceEntriesMax at most. REQUIRES: base < first, last <= last().index.
  std::vector<EntryPtr> Slice(LogIndex first, LogIndex last, std::uint64_t bytes_max) const;
  static constexpr std::size_t kSliceEntriesMax = 65536;
  /// Of the data of all entries in (base, last].
  std::uint64_t bytes() const { return bytes_; }

  /// REQUIRES: it follows last(); a configuration entry can be decoded.
  void Append(EntryPtr entry);
  /// Removes entries from `first` on, with the configurations in them. REQUIRES: first > base.
  void TruncateFrom(LogIndex first);
  /// Forgets entries up to `index`. REQUIRES: index <= last().
  void Compact(LogIndex index);
  /// Nothing is left but the state at `base`, which is not durable yet (§7).
  void Restart(LogPosition base, const Configuration& configuration);

  /// The newest configuration, committed or not (§6), and the index of its entry: the base's or
  /// smaller, if its entry is forgotten.
  const Configuration& configuration() const { return configurations_.back().configuration; }
  LogIndex configuration_index() const { return configurations_.back().index; }
  /// The one in use when `index` was the last entry. REQUIRES: base <= index.
  const Configuration& ConfigurationAt(LogIndex index) const;

  // --- What is on the disk. Batches are numbered by the caller, upwards. ---

  /// Something is not in any batch yet.
  bool HasUnsaved() const { return saved_ < last().index; }
  /// Entries that are in no batch yet: they go into `batch`.
  std::vector<EntryPtr> TakeUnsaved(std::uint64_t batch);
  /// `batch` and all before it are durable.
  void Persisted(std::uint64_t batch);
  /// All up to here is durable.
  LogIndex durable() const { return durable_; }
  /// The batch after which all up to `index` is durable; 0 if it is; `next` if it is in none yet.
  std::uint64_t BatchWith(LogIndex index, std::uint64_t next) const;

 private:
  struct PlacedConfiguration {
    LogIndex index;
    Configuration configuration;
  };
  struct Batch {
    std::uint64_t number = 0;
    LogIndex last;
  };

  LogPosition base_;
  std::deque<EntryPtr> entries_;                    // of base + 1, …
  std::uint64_t bytes_ = 0;                         // of their data
  std::deque<LogPosition> term_starts_;             // the base, and the first entry of each term
  std::deque<PlacedConfiguration> configurations_;  // the first one is at or before the base
  LogIndex saved_;                                  // last one that is in a batch
  LogIndex durable_;
  std::deque<Batch> under_way_;
};

}  // namespace ds::raft
