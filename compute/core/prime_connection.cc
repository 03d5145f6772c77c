#include "compute/core/prime_connection.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "compute/core/number.h"
#include "compute/core/small_primes.h"

namespace ds::compute {
namespace {

constexpr std::string_view kNewline = "\n";

void AnswerNumber(bool prime, std::string_view newline, PrimeAnswers* answers) {
  answers->bytes += prime ? "is prime" : "is not prime";
  answers->bytes += newline;
  ++(prime ? answers->primes : answers->composites);
}

/// Lines of answers on their way to PrimeAnswers, some hundred at a time. Which answer it is
/// decides no branch, since a processor would guess it wrong.
class AnswerLines {
 public:
  explicit AnswerLines(PrimeAnswers* answers) : answers_(answers) {}
  AnswerLines(const AnswerLines&) = delete;
  AnswerLines& operator=(const AnswerLines&) = delete;
  ~AnswerLines() { Flush(); }

  void Add(bool prime) {
    static constexpr std::array<char[kPlace + 1], 2> kLines = {"is not prime\n\0\0",
                                                               "is prime\n\0\0\0\0\0\0"};
    static constexpr std::array<std::size_t, 2> kBytes = {13, 9};
    std::memcpy(block_.data() + used_, kLines[prime], kPlace);
    used_ += kBytes[prime];
    primes_ += prime ? 1 : 0;
    ++lines_;
    if (used_ > block_.size() - kPlace) Flush();
  }
  void Flush() {
    answers_->bytes.append(block_.data(), used_);
    answers_->primes += primes_;
    answers_->composites += lines_ - primes_;
    used_ = primes_ = lines_ = 0;
  }

 private:
  static constexpr std::size_t kPlace = 16;  ///< written at once, whatever the line's length

  PrimeAnswers* answers_;
  std::size_t used_ = 0;
  std::uint64_t primes_ = 0;
  std::uint64_t lines_ = 0;
  std::array<char, 4096> block_;
};

/// The decimal digits that eight bytes of text begin with. In a little-endian word the first byte
/// of the text is the lowest.
struct Digits {
  static constexpr std::size_t kWord = sizeof(std::uint64_t);
  static_assert(std::endian::native == std::endian::little);

  /// REQUIRES: kWord bytes at `text`.
  explicit Digits(const char* text) {
    std::uint64_t word = 0;
    std::memcpy(&word, text, kWord);
    // A byte's highest bit is set here if it is below '0', or above '9'.
    const std::uint64_t below = word - kEach * '0';
    const std::uint64_t above = word + kEach * (0x7f - '9');
    const std::uint64_t others = (below | above) & kEach * 0x80;
    // A borrow or carry can spoil bytes behind the first that is no digit, never that one.
    count = others == 0 ? kWord : static_cast<std::size_t>(std::countr_zero(others)) / 8;
    if (count == 0) return;
    // As many zeros in front as make it eight digits; then pairs, fours and all eight are added up.
    std::uint64_t sum = below << 8 * (kWord - count);
    sum = (sum * 10 + (sum >> 8U)) & 0x00ff00ff00ff00ff;
    sum = (sum * 100 + (sum >> 16U)) & 0x0000ffff0000ffff;
    value = (sum * 10000 + (sum >> 32U)) & 0xffffffff;
  }

  static constexpr std::uint64_t kEach = 0x0101010101010101;
  std::size_t count = 0;
  std::uint64_t value = 0;
};

constexpr std::array<std::uint64_t, Digits::kWord + 1> kPowersOfTen = {
    1, 10, 100, 1000, 10'000, 100'000, 1'000'000, 10'000'000, 100'000'000};

/// What is read at once: sixteen digits and a LF.
constexpr std::size_t kWindow = 2 * Digits::kWord + 1;

/// Answers lines that begin before `end`, up to one that is not up to sixteen digits and a LF.
/// Returns how many bytes they were. REQUIRES: kWindow bytes at each place before `end`.
std::size_t AnswerPlainLines(const char* text, std::size_t end, AnswerLines* lines) {
  const SmallPrimes& small = SmallPrimes::Get();
  std::size_t at = 0;
  const auto answer = [&](std::uint64_t number) {
    lines->Add(number < SmallPrimes::kLimit ? small.Contains(number) : IsPrime(number));
  };
  while (at < end) {
    const Digits first(text + at);
    std::size_t count = first.count;
    std::uint64_t number = first.value;
    if (count == Digits::kWord) {
      // A case of its own, so that a processor that guesses it begins with the next line before it
      // has read this one.
      if (text[at + Digits::kWord] == '\n') {
        answer(number);
        at += Digits::kWord + 1;
        continue;
      }
      const Digits second(text + at + Digits::kWord);
      count += second.count;
      number = number * kPowersOfTen[second.count] + second.value;
    }
    if (count == 0 || text[at + count] != '\n') break;
    answer(number);
    at += count + 1;
  }
  return at;
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

/// Answers the plain lines that `bytes` begins with and returns the rest: nearly all are plain.
std::string_view PrimeConnection::TakePlainLines(std::string_view bytes, PrimeAnswers* answers) {
  AnswerLines lines(answers);
  const std::size_t end = bytes.size() - std::min(bytes.size(), kWindow);
  std::size_t taken = AnswerPlainLines(bytes.data(), end, &lines);
  if (taken >= end) {  // not ended by another line
    std::array<char, 2 * kWindow> padded{};
    bytes.copy(padded.data(), kWindow, taken);
    taken += AnswerPlainLines(padded.data(), bytes.size() - taken, &lines);
  }
  framed_ = framed_ || taken > 0;
  return bytes.substr(taken);
}

/// Answers all lines that are whole and returns the rest.
std::string_view PrimeConnection::TakeLines(std::string_view bytes, PrimeAnswers* answers) {
  for (;;) {
    bytes = TakePlainLines(bytes, answers);
    const std::size_t end = bytes.find('\n');
    if (end == std::string_view::npos) return bytes;
    framed_ = true;
    KeepPart(bytes.substr(0, end));
    EndPart(kNewline, answers);
    bytes.remove_prefix(end + 1);
  }
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
