#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "compute/core/number.h"

namespace ds::compute {

/// What clients of the ZeroMQ service can have computed: `isprime N` or `gcd A B`. A value.
struct Command {
  enum class Kind { kIsPrime, kGcd };
  Kind kind = Kind::kIsPrime;
  Number a;
  Number b{};  ///< of gcd only

  /// The one way to write it: "isprime 7", "gcd 12 18".
  std::string Line() const;
  /// Computes: "7 is prime", "7 is not prime", "gcd for 12 18 is 6".
  std::string Answer() const;
  friend bool operator==(const Command&, const Command&) = default;
};

/// The word that a command of the kind begins with: also the prefix that its workers subscribe to,
/// and the name of their service.
std::string_view CommandWord(Command::Kind kind);

/// Whether the first word of `line` is that of a command; then it is one, be it a wrong one.
bool IsCommandLine(std::string_view line);

/// Words between blanks, numbers as ParseNumber() takes them. kInvalidArgument, kOutOfRange: what
/// is wrong with the operands. REQUIRES: IsCommandLine(line).
absl::StatusOr<Command> ParseCommand(std::string_view line);

/// The command that a worker's answer is about; nothing, if it has not the form of one. What it
/// says is not checked.
std::optional<Command> ParseAnswer(std::string_view answer);

/// "error: <line>: <why>", the line escaped and cut when it is long.
std::string ErrorAnswer(std::string_view line, std::string_view why);

/// Whether `published` is an ErrorAnswer() about the line, in its sender's or in its one way to
/// write it.
bool IsErrorAbout(std::string_view line, std::string_view published);

/// Whether `published` is what the client that has sent `line` waits for: the answer to its
/// command, the error about it, or, of a line that is no command, its echo.
bool IsAnswerTo(std::string_view line, std::string_view published);

}  // namespace ds::compute
