#pragma once

#include <CLI/CLI.hpp>
#include <istream>
#include <vector>

namespace ds::daemon {

/// Reads the file of `--options`, a part of TOML: `option = value`, or `option = [value, …]` over
/// any number of lines, with comments. A text with blanks, commas or brackets stands in quotes. An
/// option that comes again gets the values of all its lines. Anything else, and what is no option
/// of `app`, is refused by file and line. (The parser of CLI11 takes "[" for a value when an array
/// goes on in the next line, "#" within quotes for a comment, and a comment in an array for a
/// value.)
class OptionsFile final : public CLI::ConfigTOML {
 public:
  /// `app` must outlive it.
  explicit OptionsFile(const CLI::App* app) : app_(app) {}

  /// Throws CLI::ConfigError, as CLI11 wants it.
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;

 private:
  const CLI::App* const app_;
};

}  // namespace ds::daemon
