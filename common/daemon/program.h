#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace ds::daemon {

/// Exit codes of every program here.
enum ExitCode : int {
  kExitSuccess = 0,
  kExitFailure = 1,  ///< the work failed
  kExitUsage = 2,    ///< usage or configuration, found before anything was done
};

struct ProgramInfo {
  std::string name;
  std::string summary;  ///< one sentence for --help
};

/// Adds --version and the common form of --help to `flags`.
void DescribeProgram(CLI::App& flags, const ProgramInfo& info);

/// Parses the command line; an exit code when the program is over already (--help, a usage error).
std::optional<int> ParseFlags(CLI::App& flags, const std::string& program, int argc, char** argv);

/// The same for a program that takes text: `words` becomes, byte for byte, what is neither an
/// option nor a positional of `flags`. Options stand anywhere; a word that looks like one and is
/// none is refused; behind "--" everything is a word.
std::optional<int> ParseFlagsAndWords(CLI::App& flags, const std::string& program, int argc,
                                      char** argv, std::vector<std::string>* words);

/// Prints "<program>: <message>" as one line on stderr.
void PrintError(const std::string& program, const std::string& message);

/// Whether everything that was printed on stdout has been taken; writes what is buffered.
absl::Status FlushOutput();

/// From now on a program that would exit with 0 exits with 1, and says so, if something that it
/// printed could not be written to stdout.
void FailIfOutputIsLost(const std::string& program);

/// Prints the status and returns the exit code that fits it: kInvalidArgument is usage.
int FailWith(const std::string& program, const absl::Status& status);

/// A check for CLI11 flags: a decimal number between the bounds. (CLI11 itself would take "-1" for
/// 2^64 - 1.)
CLI::Validator Count(std::uint64_t min, std::uint64_t max = UINT64_MAX);

/// A check for CLI11 flags that CLI::AsSizeValue transforms: begins with a digit.
CLI::Validator Size();

/// A check for CLI11 flags: a count of seconds, fractions allowed, between the bounds.
CLI::Validator Seconds(double min, double max);

/// Replaces the first of a pair by the second, and takes no other text.
CLI::Validator OneOfNames(std::vector<std::pair<std::string, std::string>> values);

/// A transform for CLI11 flags of an enumeration: one of `names` and nothing else. (CLI11's own
/// would also take the numbers behind the names.)
template <typename Enum, std::size_t kCount>
CLI::Validator OneOf(const std::pair<const char*, Enum> (&names)[kCount]) {
  std::vector<std::pair<std::string, std::string>> values;
  for (const auto& [name, value] : names) {
    values.emplace_back(name, std::to_string(static_cast<std::underlying_type_t<Enum>>(value)));
  }
  return OneOfNames(std::move(values));
}

/// A check for CLI11 flags: "" is refused, where it would mean the same as no option (and comes
/// from a variable that is not set).
CLI::Validator NotEmpty();

/// A check for CLI11 flags: an existing regular file of at most 1 MiB.
CLI::Validator SmallFile();

}  // namespace ds::daemon
