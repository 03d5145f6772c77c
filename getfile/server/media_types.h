#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace ds::getfile {

/// File names to media types, from the shared-mime-info database (its `globs2` file). Immutable and
/// so thread-safe.
class MediaTypes {
 public:
  /// Reads `text` as a globs2 file: lines "weight:type:glob[:flags]", heaviest first.
  explicit MediaTypes(std::string_view text);
  /// The machine's database; empty, with a warning in the log, where there is none.
  static const MediaTypes& OfThisMachine();

  /// For Content-Type: "text/html; charset=utf-8"; "application/octet-stream" when the name says
  /// nothing. Text is taken for UTF-8.
  std::string TypeOf(std::string_view file_name) const;

 private:
  const std::string* Find(const std::string& name) const;

  absl::flat_hash_map<std::string, std::string> by_name_;    ///< "makefile"
  absl::flat_hash_map<std::string, std::string> by_suffix_;  ///< ".tar.gz"
  std::vector<std::pair<std::string, std::string>> by_glob_;
};

}  // namespace ds::getfile
