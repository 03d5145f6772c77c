#include "common/daemon/options_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/parse.h"
#include "common/base/status.h"

namespace ds::daemon {
namespace {

constexpr std::string_view kBlanks = " \t\r";

/// Reads the text from its front to its end.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}

  bool at_end() const { return rest_.empty(); }
  int line() const { return line_; }

  /// Blanks, comments and ends of lines.
  void SkipLines() {
    for (SkipBlanks(); rest_.starts_with('\n'); SkipBlanks()) {
      Take(1);
      ++line_;
    }
  }

  /// name = value
  absl::StatusOr<CLI::ConfigItem> ReadItem() {
    CLI::ConfigItem item;
    item.name = TakeTrimmed("=#\n");
    if (front() != '=') {
      return InvalidArgument(
          fmt::format("\"{}\" is not \"option = value\"", EscapeBytes(item.name)));
    }
    Take(1);
    CLI::detail::remove_quotes(item.name);
    absl::StatusOr<std::vector<std::string>> values = ReadValues();
    if (!values.ok()) {
      return InvalidArgument(
          fmt::format("{}: {}", EscapeBytes(item.name), Message(values.status())));
    }
    item.inputs = std::move(*values);
    return item;
  }

 private:
  /// The end of the text counts for that of a line.
  char front() const { return rest_.empty() ? '\n' : rest_.front(); }

  std::string_view Take(std::size_t size) {
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  /// All up to one of these.
  std::string TakeTrimmed(std::string_view ends) {
    return CLI::detail::trim_copy(std::string(Take(rest_.find_first_of(ends))));
  }
  /// And a comment: behind them the line ends, or something stands there.
  void SkipBlanks() {
    Take(rest_.find_first_not_of(kBlanks));
    if (front() == '#') Take(rest_.find('\n'));
  }

  /// One value, or an array of them, and the end of the line.
  absl::StatusOr<std::vector<std::string>> ReadValues() {
    std::vector<std::string> values;
    SkipBlanks();
    if (front() == '[') {
      ASSIGN_OR_RETURN(values, ReadArray());
    } else {
      ASSIGN_OR_RETURN(std::string value, ReadValue("#\n"));
      values.push_back(std::move(value));
    }
    SkipBlanks();
    if (front() == '\n') return values;
    return InvalidArgument(
        fmt::format("\"{}\" stands behind the value", EscapeBytes(TakeTrimmed("\n"))));
  }

  absl::StatusOr<std::vector<std::string>> ReadArray() {
    std::vector<std::string> values;
    Take(1);
    for (SkipLines(); front() != ']'; SkipLines()) {
      if (at_end()) return InvalidArgument("the array has no end");
      ASSIGN_OR_RETURN(std::string value, ReadValue(",]#\n"));
      values.push_back(std::move(value));
      SkipLines();
      if (at_end()) return InvalidArgument("the array has no end");
      if (front() == ',') {
        Take(1);
      } else if (front() != ']') {
        return InvalidArgument("a comma is missing in the array");
      }
    }
    Take(1);
    if (values.empty()) return InvalidArgument("the value is missing");
    return values;
  }

  absl::StatusOr<std::string> ReadValue(std::string_view ends) {
    if (front() == '"' || front() == '\'') return ReadText();
    std::string value = TakeTrimmed(ends);
    if (value.empty()) return InvalidArgument("the value is missing");
    if (value.find_first_of(" \t,[]\"'") != std::string::npos) {
      return InvalidArgument(fmt::format("{} needs quotes", EscapeBytes(value)));
    }
    return value;
  }

  /// "…", in which \" and \\ are escapes, or '…', in which nothing is.
  absl::StatusOr<std::string> ReadText() {
    const char quote = Take(1).front();
    std::string text;
    for (;;) {
      if (front() == '\n') return InvalidArgument("the text has no closing quote");
      char c = Take(1).front();
      if (c == quote) return text;
      if (c == '\\' && quote == '"') {
        if (front() != '"' && front() != '\\') {
          return InvalidArgument(R"(the text has an escape other than \" and \\)");
        }
        c = Take(1).front();
      }
      text += c;
    }
  }

  std::string_view rest_;
  int line_ = 1;
};

bool IsOption(const CLI::App& app, const std::string& name) {
  if (name.empty()) return false;  // CLI11 finds an option for it
  return app.get_option_no_throw("--" + name) != nullptr ||
         (name.size() == 1 && app.get_option_no_throw("-" + name) != nullptr) ||
         app.get_option_no_throw(name) != nullptr;
}

}  // namespace

std::vector<CLI::ConfigItem> OptionsFile::from_config(std::istream& input) const {
  const std::string text((std::istreambuf_iterator<char>(input)), std::istreambuf_iterator<char>());
  std::vector<CLI::ConfigItem> found;
  Cursor cursor(text);
  for (cursor.SkipLines(); !cursor.at_end(); cursor.SkipLines()) {
    const int line = cursor.line();
    absl::StatusOr<CLI::ConfigItem> item = cursor.ReadItem();
    if (item.ok() && !IsOption(*app_, item->name)) {
      item = InvalidArgument(fmt::format("no option \"{}\"", EscapeBytes(item->name)));
    }
    if (!item.ok()) {
      throw CLI::ConfigError(fmt::format("options file \"{}\", line {}: {}",
                                         app_->get_config_ptr()->as<std::string>(), line,
                                         Message(item.status())));
    }
    // Of an option that comes again only the first item would count.
    const auto same = std::find_if(found.begin(), found.end(), [&](const CLI::ConfigItem& other) {
      return other.name == item->name;
    });
    if (same == found.end()) {
      found.push_back(*std::move(item));
    } else {
      std::move(item->inputs.begin(), item->inputs.end(), std::back_inserter(same->inputs));
    }
  }
  return found;
}

}  // namespace ds::daemon
