#include "raft/storage/record.h"

#include <fmt/format.h>

#include <optional>
#include <string>

#include "common/base/big_endian.h"

namespace ds::raft {
namespace {

std::optional<LogPosition> TakePosition(BigEndianReader* reader) {
  const auto term = reader->U64();
  const auto index = reader->U64();
  if (!index) return std::nullopt;
  return LogPosition{Term(*term), LogIndex(*index)};
}

std::optional<HardState> TakeHardState(BigEndianReader* reader) {
  const auto term = reader->U64();
  const auto voted = reader->U8();
  const auto vote = reader->U64();
  if (!vote || *voted > 1 || (*voted == 0 && *vote != 0)) return std::nullopt;
  HardState hard_state;
  hard_state.term = Term(*term);
  if (*voted == 1) hard_state.vote = NodeId(*vote);
  return hard_state;
}

std::optional<LogRecord> TakeRecord(RecordType type, BigEndianReader* reader) {
  switch (type) {
    case RecordType::kSegmentStart: {
      const auto hard_state = TakeHardState(reader);
      const auto last = hard_state ? TakePosition(reader) : std::nullopt;
      if (!last) return std::nullopt;
      return SegmentStart{*hard_state, *last};
    }
    case RecordType::kHardState:
      return TakeHardState(reader);
    case RecordType::kEntry: {
      const auto position = TakePosition(reader);
      const auto kind = reader->U8();
      if (!position || position->index == LogIndex(0) || !kind ||
          *kind > static_cast<std::uint8_t>(Entry::Kind::kConfiguration)) {
        return std::nullopt;
      }
      return Entry{*position, static_cast<Entry::Kind>(*kind),
                   std::string(*reader->Bytes(reader->rest().size()))};
    }
    case RecordType::kRestart: {
      const auto position = TakePosition(reader);
      if (!position) return std::nullopt;
      return Restart{*position};
    }
  }
  return std::nullopt;
}

}  // namespace

std::array<char, kHardStateBytes> EncodeHardState(const HardState& hard_state) {
  std::array<char, kHardStateBytes> bytes{};
  PutU64(bytes.data(), hard_state.term.value());
  bytes[8] = hard_state.vote ? 1 : 0;
  PutU64(bytes.data() + 9, hard_state.vote ? hard_state.vote->value() : 0);
  return bytes;
}

std::array<char, kPositionBytes> EncodePosition(LogPosition position) {
  std::array<char, kPositionBytes> bytes{};
  PutU64(bytes.data(), position.term.value());
  PutU64(bytes.data() + 8, position.index.value());
  return bytes;
}

std::array<char, kEntryHeadBytes> EncodeEntryHead(const Entry& entry) {
  std::array<char, kEntryHeadBytes> bytes{};
  PutU64(bytes.data(), entry.position.term.value());
  PutU64(bytes.data() + 8, entry.position.index.value());
  bytes[16] = static_cast<char>(entry.kind);
  return bytes;
}

absl::StatusOr<LogRecord> DecodeRecord(std::uint8_t type, std::string_view payload) {
  BigEndianReader reader(payload);
  auto record = TakeRecord(static_cast<RecordType>(type), &reader);
  if (!record || !reader.empty()) {
    return InvalidArgument(fmt::format("log record of type {} and {} bytes: is not one of ours",
                                       type, payload.size()));
  }
  return *std::move(record);
}

}  // namespace ds::raft
