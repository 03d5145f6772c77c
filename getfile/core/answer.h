#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "getfile/core/protocol.h"

namespace ds::getfile {

/// The head of an answer, as a client reads it.
struct Answer {
  AnswerStatus status = AnswerStatus::kError;
  Dialect dialect = Dialect::kStandard;
  std::uint64_t length = 0;  ///< of the body, bytes; 0 unless kOk
};

/// Reads the head of one answer, in either dialect, from a byte stream that may be split anywhere.
/// After the length one space means legacy, whatever the body begins with; CR LF CR LF means
/// standard; anything else is malformed. A value, single threaded.
class AnswerParser {
 public:
  /// Accepts both dialects, or only `only`.
  explicit AnswerParser(std::optional<Dialect> only = std::nullopt) : only_(only) {}

  enum class State { kIncomplete, kComplete, kMalformed };

  /// Consumes bytes up to the end of the head, or up to the first wrong byte; returns how many.
  std::size_t Feed(std::string_view bytes);

  State state() const { return state_; }
  bool started() const { return !head_.empty(); }
  /// REQUIRES: kComplete.
  const Answer& answer() const { return answer_; }
  /// Why it is malformed, for a message. REQUIRES: kMalformed.
  const std::string& malformed_because() const { return reason_; }

 private:
  std::size_t FeedWholeHead(std::string_view bytes);
  void Examine();
  void Malformed(std::string_view why);
  void ExamineEnd(AnswerStatus status, std::string_view rest);
  void ExamineLength(std::string_view rest);
  void Complete(AnswerStatus status, Dialect dialect, std::uint64_t length);

  std::optional<Dialect> only_;
  State state_ = State::kIncomplete;
  std::string head_;  ///< bounded: the longest head is 37 bytes
  Answer answer_;
  std::string reason_;
};

}  // namespace ds::getfile
