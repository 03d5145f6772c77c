#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/strong_number.h"
#include "raft/core/configuration.h"

namespace ds::raft {

/// A term of at most one leader (paper §5.1). 0 before the first election.
using Term = StrongNumber<struct TermTag>;
/// The place of an entry in the log. The first is 1; 0 is the empty log.
using LogIndex = StrongNumber<struct LogIndexTag>;

/// An entry's place and the term of the leader that made it. By the log matching property (§5.3)
/// two logs that have an entry of one position are equal up to it.
struct LogPosition {
  Term term;
  LogIndex index;
  friend bool operator==(const LogPosition&, const LogPosition&) = default;
};

/// An entry of the log. Never changed once it exists, so it is shared between the log, messages and
/// the state machine.
struct Entry {
  enum class Kind : std::uint8_t {
    kNoop = 0,           ///< the first of each term (§8)
    kCommand = 1,        ///< for the state machine
    kConfiguration = 2,  ///< a Configuration in its encoding (§6)
  };
  LogPosition position;
  Kind kind = Kind::kNoop;
  std::string data;
  friend bool operator==(const Entry&, const Entry&) = default;
};
using EntryPtr = std::shared_ptr<const Entry>;

/// What a member must not forget, or it votes twice (Figure 2, persistent state).
struct HardState {
  Term term;
  std::optional<NodeId> vote;  ///< in this term
  friend bool operator==(const HardState&, const HardState&) = default;
};

/// Names the state after the entry at `last`. The bytes of it are the embedder's.
struct SnapshotMeta {
  LogPosition last;
  Configuration configuration;  ///< as of `last`
  std::uint64_t bytes = 0;      ///< how large it is
  friend bool operator==(const SnapshotMeta&, const SnapshotMeta&) = default;
};

}  // namespace ds::raft
