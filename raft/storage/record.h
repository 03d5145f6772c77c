#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>

#include "common/base/status.h"
#include "raft/core/types.h"

namespace ds::raft {

/// The types of records in a member's log. Formats: raft/ARCHITECTURE.md.
enum class RecordType : std::uint8_t {
  kSegmentStart = 1,
  kHardState = 2,
  kEntry = 3,
  kRestart = 4,
};

/// The first record of each segment: what those before it come to, so that they can be removed.
struct SegmentStart {
  HardState hard_state;
  LogPosition last;  ///< of the log so far
  friend bool operator==(const SegmentStart&, const SegmentStart&) = default;
};
/// All entries are gone; the next one comes after `position`, of which there is a snapshot.
struct Restart {
  LogPosition position;
  friend bool operator==(const Restart&, const Restart&) = default;
};
/// An entry replaces all that have its index or a larger one.
using LogRecord = std::variant<SegmentStart, HardState, Entry, Restart>;

// --- Payloads, without an allocation ---

constexpr std::size_t kHardStateBytes = 17;
constexpr std::size_t kPositionBytes = 16;
constexpr std::size_t kEntryHeadBytes = 17;

std::array<char, kHardStateBytes> EncodeHardState(const HardState& hard_state);
std::array<char, kPositionBytes> EncodePosition(LogPosition position);
/// What stands before the entry's data.
std::array<char, kEntryHeadBytes> EncodeEntryHead(const Entry& entry);
template <std::size_t kSize>
std::string_view AsView(const std::array<char, kSize>& bytes) {
  return {bytes.data(), bytes.size()};
}

/// An error for an unknown type, bytes missing or left over, an unknown kind of entry, an entry of
/// index 0, a flag that is neither 0 nor 1, or a vote where there is none.
absl::StatusOr<LogRecord> DecodeRecord(std::uint8_t type, std::string_view payload);

}  // namespace ds::raft
