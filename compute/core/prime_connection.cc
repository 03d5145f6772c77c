#include "compute/core/prime_connection.h"

#include <algorithm>

#include "common/base/parse.h"
#include "compute/core/number.h"

namespace ds::compute {
namespace {

constexpr std::string_view kNewline = "\n";
/// So many digits are below 2^64 whatever they are.
constexpr std::size_t kPlainDigitsMax = 19;

void AnswerNumber(bool prime, std::string_view newline, PrimeAnswers* answers) {
  answers->bytes += prime ? "is prime" : "is not prime";
  answers->bytes += newline;
  ++(prime ? answers->primes : answers->composites);
}

void AnswerError(std::string_view why, std::string_view newline, PrimeAnswers* answers) {
  answers->bytes += "error: ";
  answers->bytes += why;
  answers->bytes += newline;
  ++answers->errors;
}

void AnswerLine(std::string_view line, std::string_view newline, PrimeAnswers* answers) {
  line = TrimBlanks(line);
  if (line.empty()) return;
  const auto number = ParseNumber(line);
  if (number.ok()) return AnswerNumber(IsPrime(*number), newline, answers);
  AnswerError(Message(number.status()), newline, answers);
}

}  // namespace

void PrimeConnection::HandleBytes(std::string_view bytes, TimePoint now, PrimeAnswers* answers) {
  active_time_ = byte_time_ = now;
  if (line_bytes_ > 0 || too_long_) {
    const std::size_t end = bytes.find('\n');
    KeepPart(bytes.substr(0, end));
    if (end == std::string_view::npos) return;
    framed_ = true;
    EndPart(kNewline, answers);
    bytes.remove_prefix(end + 1);
  }
  KeepPart(TakeLines(bytes, answers));
}

/// Answers all lines that are whole and returns the rest.
std::string_view PrimeConnection::TakeLines(std::string_view bytes, PrimeAnswers* answers) {
  while (!bytes.empty()) {
    // Nearly every line is digits and a LF: read in one go.
    std::uint64_t number = 0;
    std::size_t digits = 0;
    while (digits < bytes.size() && bytes[digits] >= '0' && bytes[digits] <= '9') {
      number = number * 10 + static_cast<std::uint64_t>(bytes[digits] - '0');
      ++digits;
    }
    if (digits == bytes.size()) break;  // its end has not come
    if (bytes[digits] == '\n' && digits > 0 && digits <= kPlainDigitsMax) {
      AnswerNumber(IsPrime(number), kNewline, answers);
      bytes.remove_prefix(digits + 1);
    } else {
      const std::size_t end = bytes.find('\n', digits);
      if (end == std::string_view::npos) break;
      KeepPart(bytes.substr(0, end));
      EndPart(kNewline, answers);
      bytes.remove_prefix(end + 1);
    }
    framed_ = true;
  }
  return bytes;
}

void PrimeConnection::KeepPart(std::string_view bytes) {
  if (bytes.size() > line_.size() - line_bytes_) too_long_ = true;
  const std::size_t kept = std::min(bytes.size(), line_.size() - line_bytes_);
  std::copy_n(bytes.begin(), kept, line_.begin() + line_bytes_);
  line_bytes_ = static_cast<std::uint8_t>(line_bytes_ + kept);
}

/// The end of the line under way, or of the number, has come.
void PrimeConnection::EndPart(std::string_view newline, PrimeAnswers* answers) {
  // The CR of a CR LF is no part of the line.
  const bool fits = line_bytes_ <= kLineBytesMax || line_[kLineBytesMax] == '\r';
  if (too_long_ || !fits) {
    AnswerError("longer than 64 bytes", newline, answers);
  } else {
    AnswerLine({line_.data(), line_bytes_}, newline, answers);
  }
  line_bytes_ = 0;
  too_long_ = false;
}

void PrimeConnection::HandleEndOfStream(PrimeAnswers* answers) {
  EndPart(framed_ ? kNewline : "", answers);
}

TimePoint PrimeConnection::NextDeadline() const {
  const TimePoint idle = active_time_ + options_->idle_timeout;
  return awaits_pause() ? std::min(idle, byte_time_ + options_->pause) : idle;
}

void PrimeConnection::HandleTimeout(TimePoint now, PrimeAnswers* answers) {
  if (awaits_pause() && now >= byte_time_ + options_->pause) EndPart("", answers);
  timed_out_ = now >= active_time_ + options_->idle_timeout;
}

}  // namespace ds::compute
