#include "compute/text/text_command.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/parse.h"
#include "compute/core/text.h"

namespace ds::compute {
namespace {

constexpr std::string_view kBlanks = " \t";
constexpr std::size_t kShownBytes = 32;

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> words;
  for (;;) {
    text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
    if (text.empty()) return words;
    const std::size_t end = std::min(text.find_first_of(kBlanks), text.size());
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

}  // namespace

absl::StatusOr<TextCommand> ParseTextCommand(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  if (line.empty()) return NoCommand{};
  const std::size_t end = std::min(line.find_first_of(kBlanks), line.size());
  const std::string_view word = line.substr(0, end);
  const std::string_view rest = end == line.size() ? "" : line.substr(end + 1);
  if (word == "reverse" || word == "split") {
    RETURN_IF_ERROR(CheckUtf8(word, rest));
    if (word == "reverse") return ReverseCommand{std::string(rest)};
    return SplitCommand{std::string(rest)};
  }
  if (word == "isprime") {
    RETURN_IF_ERROR(CheckUtf8(word, rest));
    IsPrimeCommand command{Words(rest)};
    if (command.numbers.empty()) return InvalidArgument("isprime: which number?");
    return command;
  }
  if (word == "exit" && Words(rest).empty()) return ExitCommand{};
  return InvalidArgument(
      fmt::format("\"{}\": no such command (reverse <text>, split <text>, isprime <n> <n> …, exit)",
                  EscapeBytes(line.substr(0, kShownBytes))));
}

}  // namespace ds::compute
