#include "compute/core/command.h"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <vector>

#include "common/base/check.h"
#include "common/base/parse.h"

namespace ds::compute {
namespace {

constexpr std::string_view kBlanks = " \t\r\n\v\f";
/// Of a line in an error.
constexpr std::size_t kShownBytes = 64;
/// More words than any command or answer has.
constexpr std::size_t kWordsMax = 7;

/// The first kWordsMax words: who has that many is wrong anyway.
std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  while (words.size() < kWordsMax) {
    const std::size_t begin = text.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    words.push_back(text.substr(0, text.find_first_of(kBlanks)));
    text.remove_prefix(words.back().size());
  }
  return words;
}

std::string_view FirstWord(std::string_view text) {
  text = TrimBlanks(text);
  return text.substr(0, text.find_first_of(kBlanks));
}

}  // namespace

std::string_view CommandWord(Command::Kind kind) {
  return kind == Command::Kind::kIsPrime ? "isprime" : "gcd";
}

std::string Command::Line() const {
  if (kind == Kind::kIsPrime) return fmt::format("isprime {}", a.ToString());
  return fmt::format("gcd {} {}", a.ToString(), b.ToString());
}

std::string Command::Answer() const {
  if (kind == Kind::kIsPrime) {
    return fmt::format("{} is {}prime", a.ToString(), IsPrime(a) ? "" : "not ");
  }
  return fmt::format("gcd for {} {} is {}", a.ToString(), b.ToString(),
                     Gcd(a.magnitude, b.magnitude));
}

bool IsCommandLine(std::string_view line) {
  const std::string_view word = FirstWord(line);
  return word == CommandWord(Command::Kind::kIsPrime) || word == CommandWord(Command::Kind::kGcd);
}

absl::StatusOr<Command> ParseCommand(std::string_view line) {
  CHECK(IsCommandLine(line));
  const std::vector<std::string_view> words = Words(line);
  Command command;
  if (words[0] == CommandWord(Command::Kind::kIsPrime)) {
    if (words.size() != 2) return InvalidArgument("one number is needed");
    ASSIGN_OR_RETURN(command.a, ParseNumber(words[1]));
    return command;
  }
  command.kind = Command::Kind::kGcd;
  if (words.size() != 3) return InvalidArgument("two numbers are needed");
  ASSIGN_OR_RETURN(command.a, ParseNumber(words[1]));
  ASSIGN_OR_RETURN(command.b, ParseNumber(words[2]));
  return command;
}

std::optional<Command> ParseAnswer(std::string_view answer) {
  const std::vector<std::string_view> words = Words(answer);
  const bool prime = words.size() == 3 && words[1] == "is" && words[2] == "prime";
  const bool not_prime =
      words.size() == 4 && words[1] == "is" && words[2] == "not" && words[3] == "prime";
  if (prime || not_prime) {
    const auto number = ParseNumber(words[0]);
    if (!number.ok()) return std::nullopt;
    return Command{Command::Kind::kIsPrime, *number};
  }
  if (words.size() != 6 || words[0] != "gcd" || words[1] != "for" || words[4] != "is") {
    return std::nullopt;
  }
  const auto a = ParseNumber(words[2]);
  const auto b = ParseNumber(words[3]);
  const auto divisor = ParseNumber(words[5]);
  if (!a.ok() || !b.ok() || !divisor.ok()) return std::nullopt;
  return Command{Command::Kind::kGcd, *a, *b};
}

std::string ErrorAnswer(std::string_view line, std::string_view why) {
  line = TrimBlanks(line);
  return fmt::format("error: {}{}: {}", EscapeBytes(line.substr(0, kShownBytes)),
                     line.size() > kShownBytes ? "…" : "", why);
}

bool IsErrorAbout(std::string_view line, std::string_view published) {
  if (IsCommandLine(line)) {
    const auto command = ParseCommand(line);
    if (command.ok()) return published.starts_with(ErrorAnswer(command->Line(), ""));
  }
  return published.starts_with(ErrorAnswer(line, ""));
}

bool IsAnswerTo(std::string_view line, std::string_view published) {
  if (IsErrorAbout(line, published)) return true;
  if (!IsCommandLine(line)) return published == line;
  const auto command = ParseCommand(line);
  return command.ok() && ParseAnswer(published) == *command;
}

}  // namespace ds::compute
