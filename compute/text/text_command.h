#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/status.h"

namespace ds::compute {

struct ReverseCommand {
  std::string text;
};
struct SplitCommand {  ///< at single spaces
  std::string text;
};
struct IsPrimeCommand {
  std::vector<std::string> numbers;  ///< as written; at least one
};
struct ExitCommand {};
struct NoCommand {};  ///< an empty line

using TextCommand =
    std::variant<NoCommand, ReverseCommand, SplitCommand, IsPrimeCommand, ExitCommand>;

/// A line as text-client takes it: `reverse <text>`, `split <text>`, `isprime <n> <n> …`, `exit`.
/// Blanks before the command word are ignored; after it exactly one is dropped, and the text is the
/// rest as it stands. kInvalidArgument: none of these, or a text that is not UTF-8.
absl::StatusOr<TextCommand> ParseTextCommand(std::string_view line);

}  // namespace ds::compute
