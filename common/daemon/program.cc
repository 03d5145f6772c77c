#include "common/daemon/program.h"

#include <absl/strings/ascii.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "common/base/check.h"
#include "common/base/parse.h"

namespace ds::daemon {
namespace {

std::string OneLine(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return text;
}

/// "-x", "--x"; but not "-7", "-", "- x".
bool LooksLikeOption(std::string_view word) {
  if (!word.starts_with('-')) return false;
  word.remove_prefix(word.starts_with("--") ? 2 : 1);
  return !word.empty() && absl::ascii_isalpha(static_cast<unsigned char>(word.front()));
}

}  // namespace

void DescribeProgram(CLI::App& flags, const ProgramInfo& info) {
  flags.description(info.summary);
  flags.name(info.name);
  flags.set_version_flag("--version", fmt::format("{} {} ({})", info.name, DS_VERSION, DS_BUILD));
  flags.get_formatter()->column_width(38);
}

std::optional<int> ParseFlags(CLI::App& flags, const std::string& program, int argc, char** argv) {
  try {
    flags.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::Success& done) {  // --help, --version
    return flags.exit(done);
  } catch (const CLI::Error& error) {
    PrintError(program, fmt::format("parse options: {} (see --help)", error.what()));
    return kExitUsage;
  }
}

std::optional<int> ParseFlagsAndWords(CLI::App& flags, const std::string& program, int argc,
                                      char** argv, std::vector<std::string>* words) {
  flags.allow_extras();
  if (const auto code = ParseFlags(flags, program, argc, argv)) return code;
  *words = flags.remaining();
  const auto mark = std::find(words->begin(), words->end(), "--");
  if (const auto wrong = std::find_if(words->begin(), mark, LooksLikeOption); wrong != mark) {
    PrintError(program, fmt::format("parse options: \"{}\": no such option (see --help; behind -- "
                                    "everything is text)",
                                    EscapeBytes(*wrong)));
    return kExitUsage;
  }
  if (mark != words->end()) words->erase(mark);
  return std::nullopt;
}

void PrintError(const std::string& program, const std::string& message) {
  std::fprintf(stderr, "%s: %s\n", program.c_str(), OneLine(message).c_str());
}

absl::Status FlushOutput() {
  const std::string what = "write to standard output";
  if (std::fflush(stdout) != 0) return ErrnoError(what, errno);
  // The library has dropped what it could not write earlier, and why.
  if (std::ferror(stdout) != 0) {
    return Error(absl::StatusCode::kDataLoss, what + ": not all of it was taken");
  }
  return absl::OkStatus();
}

void FailIfOutputIsLost(const std::string& program) {
  static std::string name;
  if (std::exchange(name, program).empty()) {
    CHECK(::on_exit(
              [](int code, void* /*unused*/) {
                const absl::Status output = FlushOutput();
                if (code != kExitSuccess || output.ok()) return;
                PrintError(name, Message(output));
                ::_exit(kExitFailure);
              },
              nullptr) == 0);
  }
}

int FailWith(const std::string& program, const absl::Status& status) {
  PrintError(program, Message(status));
  return status.code() == absl::StatusCode::kInvalidArgument ? kExitUsage : kExitFailure;
}

CLI::Validator Count(std::uint64_t min, std::uint64_t max) {
  const std::string bounds = max == UINT64_MAX ? fmt::format("NUMBER from {}", min)
                                               : fmt::format("NUMBER {}-{}", min, max);
  return CLI::Validator(
      [=](const std::string& text) {
        const auto number = ParseDecimal(text);
        if (number && *number >= min && *number <= max) return std::string();
        return fmt::format("\"{}\" is not a {}", EscapeBytes(text), bounds);
      },
      bounds);
}

CLI::Validator Size() {
  return CLI::Validator(
      [](const std::string& text) {
        // CLI11 does not notice digits that are too many.
        const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
        const bool fits = ParseDecimal(std::string_view(text).substr(0, digits)).has_value();
        return fits ? std::string() : fmt::format("\"{}\" is not a size", EscapeBytes(text));
      },
      "");
}

CLI::Validator Seconds(double min, double max) {
  const std::string bounds = fmt::format("SECONDS {}-{}", min, max);
  return CLI::Validator(
      [=](const std::string& text) {
        double seconds = 0;
        const bool number = CLI::detail::lexical_cast(text, seconds);
        // Written so that "nan" is not between any bounds.
        if (number && seconds >= min && seconds <= max) return std::string();
        return fmt::format("\"{}\" is not a number of {}", EscapeBytes(text), bounds);
      },
      bounds);
}

CLI::Validator OneOfNames(std::vector<std::pair<std::string, std::string>> values) {
  std::vector<std::string> names;
  names.reserve(values.size());
  for (const auto& [name, value] : values) names.push_back(name);
  std::string description = fmt::format("{{{}}}", fmt::join(names, ","));
  return CLI::Validator(
      [values = std::move(values), description](std::string& text) {
        for (const auto& [name, value] : values) {
          if (text != name) continue;
          text = value;
          return std::string();
        }
        return fmt::format("\"{}\" is not in {}", EscapeBytes(text), description);
      },
      description);
}

CLI::Validator NotEmpty() {
  return CLI::Validator(
      [](const std::string& text) { return text.empty() ? std::string("is empty") : ""; }, "");
}

CLI::Validator SmallFile() {
  return CLI::Validator(
      [](const std::string& name) {
        constexpr std::uintmax_t kBytesMax = 1U << 20U;
        std::error_code error;
        if (!std::filesystem::is_regular_file(name, error)) {
          return fmt::format("open \"{}\": {}", name,
                             error ? error.message() : "not a regular file");
        }
        if (std::filesystem::file_size(name, error) > kBytesMax || error) {
          return fmt::format("read \"{}\": larger than {} bytes", name, kBytesMax);
        }
        return std::string();
      },
      "FILE");
}

}  // namespace ds::daemon
