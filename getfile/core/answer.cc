#include "getfile/core/answer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/base/check.h"
#include "common/base/parse.h"

namespace ds::getfile {
namespace {

constexpr std::string_view kScheme = "GETFILE ";
constexpr std::string_view kStandardEnd = "\r\n\r\n";
constexpr std::string_view kLegacyEnd = " 0\n";
constexpr std::size_t kDigitsMax = 20;  // 2^64 - 1 has twenty

struct Spelling {
  std::string_view text;
  AnswerStatus status;
};
constexpr std::array<Spelling, kAnswerStatusCount> kSpellings = {{
    {"OK ", AnswerStatus::kOk},
    {"FILE_NOT_FOUND", AnswerStatus::kFileNotFound},
    {"ERROR", AnswerStatus::kError},
    {"INVALID", AnswerStatus::kInvalid},
}};

/// One of the two is a beginning of the other.
bool Agree(std::string_view a, std::string_view b) {
  const std::size_t n = std::min(a.size(), b.size());
  return a.substr(0, n) == b.substr(0, n);
}

}  // namespace

std::string FormatAnswer(Dialect dialect, AnswerStatus status, std::uint64_t length) {
  std::string head(kScheme);
  head += Name(status);
  if (status == AnswerStatus::kOk) {
    head += ' ';
    head += std::to_string(length);
    head += dialect == Dialect::kLegacy ? " " : kStandardEnd;
  } else {
    head += dialect == Dialect::kLegacy ? kLegacyEnd : kStandardEnd;
  }
  return head;
}

std::size_t AnswerParser::Feed(std::string_view bytes) {
  std::size_t consumed = head_.empty() && state_ == State::kIncomplete ? FeedWholeHead(bytes) : 0;
  // Byte by byte: the head is short, and not one byte of the body may be taken for it.
  while (consumed < bytes.size() && state_ == State::kIncomplete) {
    head_.push_back(bytes[consumed++]);
    Examine();
  }
  return consumed;
}

/// The usual case, in one step: a whole standard head of status OK at the front of `bytes`.
/// Consumes all of it or nothing.
std::size_t AnswerParser::FeedWholeHead(std::string_view bytes) {
  constexpr std::string_view kFound = "GETFILE OK ";
  if (!bytes.starts_with(kFound)) return 0;
  const std::string_view rest = bytes.substr(kFound.size(), kDigitsMax + kStandardEnd.size());
  const std::size_t digits = std::min(rest.find('\r'), rest.size());
  if (!rest.substr(digits).starts_with(kStandardEnd)) return 0;
  const auto length = ParseDecimal(rest.substr(0, digits));
  if (!length) return 0;
  Complete(AnswerStatus::kOk, Dialect::kStandard, *length);
  return kFound.size() + digits + kStandardEnd.size();
}

void AnswerParser::Examine() {
  std::string_view rest = head_;
  if (!Agree(rest, kScheme)) return Malformed("it does not begin with GETFILE");
  if (rest.size() <= kScheme.size()) return;
  rest.remove_prefix(kScheme.size());
  for (const auto& [text, status] : kSpellings) {
    if (!Agree(rest, text)) continue;
    if (rest.size() <= text.size()) return;
    rest.remove_prefix(text.size());
    return status == AnswerStatus::kOk ? ExamineLength(rest) : ExamineEnd(status, rest);
  }
  Malformed("unknown status");
}

void AnswerParser::ExamineLength(std::string_view rest) {
  const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  if (digits == 0) return Malformed("the length is missing or not a decimal number");
  if (digits > kDigitsMax) return Malformed("the length is 2^64 or more");
  const std::string_view end = rest.substr(digits);
  if (end.empty()) return;
  const auto length = ParseDecimal(rest.substr(0, digits));
  if (!length) return Malformed("the length is 2^64 or more");
  if (end == " ") return Complete(AnswerStatus::kOk, Dialect::kLegacy, *length);
  if (!Agree(end, kStandardEnd)) return Malformed("wrong bytes after the length");
  if (end == kStandardEnd) Complete(AnswerStatus::kOk, Dialect::kStandard, *length);
}

void AnswerParser::ExamineEnd(AnswerStatus status, std::string_view rest) {
  if (rest == kStandardEnd) return Complete(status, Dialect::kStandard, 0);
  if (rest == kLegacyEnd) return Complete(status, Dialect::kLegacy, 0);
  if (!Agree(rest, kStandardEnd) && !Agree(rest, kLegacyEnd)) {
    Malformed("wrong bytes after the status");
  }
}

void AnswerParser::Complete(AnswerStatus status, Dialect dialect, std::uint64_t length) {
  if (only_ && dialect != *only_) return Malformed("it is in the other dialect");
  state_ = State::kComplete;
  answer_ = {status, dialect, length};
}

void AnswerParser::Malformed(std::string_view why) {
  state_ = State::kMalformed;
  reason_ = why;
}

}  // namespace ds::getfile
