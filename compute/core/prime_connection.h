#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/time.h"

namespace ds::compute {

/// What there is to send, and how many answers of each kind are in it. Filled by PrimeConnection,
/// emptied by its owner; one of these serves many connections, so that no answer allocates.
struct PrimeAnswers {
  std::string bytes;
  std::uint64_t primes = 0;
  std::uint64_t composites = 0;  ///< all numbers that are not prime
  std::uint64_t errors = 0;      ///< lines that are no numbers
};

/// The server's side of one connection of the prime service, without the socket: where a number
/// ends, what is answered, and every time limit. ARCHITECTURE.md has the rule of framing:
///
/// * Until its first LF a connection is undecided: what comes is a number that ends when no further
///   byte has come for `pause`, or at the end of stream. Its answer has no newline.
/// * From the first LF on (the one that ends the first line included) it is framed: each line is a
///   number, however it is split, and its answer is a line. The end of stream ends a last line.
///
/// What this returns depends on when bytes come only until the first LF. Deadline-driven, single
/// threaded; costs a number's bytes and no allocation while it waits.
class PrimeConnection {
 public:
  static constexpr std::size_t kLineBytesMax = 64;  ///< before LF or CR LF, blanks included
  /// The longest answer, that to a line of kLineBytesMax or less: bounds what one read can cause.
  static constexpr std::size_t kAnswerBytesMax = 192;

  struct Options {
    Duration pause = std::chrono::milliseconds(20);
    /// Without a byte in or out the connection is given up.
    Duration idle_timeout = std::chrono::seconds(300);
  };

  /// `options` must outlive the connection.
  PrimeConnection(const Options* options, TimePoint now)
      : options_(options), active_time_(now), byte_time_(now) {}

  /// Appends to `answers`. REQUIRES: no end of stream before.
  void HandleBytes(std::string_view bytes, TimePoint now, PrimeAnswers* answers);
  /// Answers what was not ended. Nothing follows but HandleSent() and time.
  void HandleEndOfStream(PrimeAnswers* answers);
  /// The peer has taken answers.
  void HandleSent(TimePoint now) { active_time_ = now; }

  /// There is always one: every wait for the peer ends.
  TimePoint NextDeadline() const;
  /// NextDeadline() has passed.
  void HandleTimeout(TimePoint now, PrimeAnswers* answers);

  /// The idle time-out has passed: to be closed.
  bool timed_out() const { return timed_out_; }
  /// Time will tell whether what came is a number: not to be closed yet by a shutdown. A line
  /// without its end does not count, since that may never come.
  bool awaits_pause() const { return !framed_ && line_bytes_ > 0; }

 private:
  std::string_view TakePlainLines(std::string_view bytes, PrimeAnswers* answers);
  std::string_view TakeLines(std::string_view bytes, PrimeAnswers* answers);
  void KeepPart(std::string_view bytes);
  void EndPart(std::string_view newline, PrimeAnswers* answers);

  const Options* options_;
  TimePoint active_time_;  ///< of the last byte in either direction
  TimePoint byte_time_;    ///< of the last byte that came
  bool framed_ = false;
  bool timed_out_ = false;
  bool too_long_ = false;  ///< the line under way: its bytes are not kept any more
  std::uint8_t line_bytes_ = 0;
  std::array<char, kLineBytesMax + 1> line_;  ///< of a line whose end has not come; and its CR
};

/// The floor that PrimeConnection is measured against: the same shell, the same bytes in, as many
/// out, and nothing done. Same meaning of the same names.
class EchoConnection {
 public:
  EchoConnection(const PrimeConnection::Options* options, TimePoint now)
      : options_(options), active_time_(now) {}

  void HandleBytes(std::string_view bytes, TimePoint now, PrimeAnswers* answers) {
    active_time_ = now;
    answers->bytes += bytes;
  }
  void HandleEndOfStream(PrimeAnswers* /*answers*/) {}
  void HandleSent(TimePoint now) { active_time_ = now; }
  TimePoint NextDeadline() const { return active_time_ + options_->idle_timeout; }
  void HandleTimeout(TimePoint now, PrimeAnswers* /*answers*/) {
    timed_out_ = now >= NextDeadline();
  }
  bool timed_out() const { return timed_out_; }
  bool awaits_pause() const { return false; }

 private:
  const PrimeConnection::Options* options_;
  TimePoint active_time_;
  bool timed_out_ = false;
};

}  // namespace ds::compute
