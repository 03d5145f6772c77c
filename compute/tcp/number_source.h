#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "compute/core/number.h"

namespace ds::compute::tcp {

/// One thing that the user asked about.
struct Question {
  Number number;
  std::string error;  ///< not empty: it is no number, and why
};

/// What the user asked about, one after the other: a list, or the lines of a file or pipe, which
/// may be endless. Holds one buffer of a file. Not thread-safe.
class NumberSource {
 public:
  enum class Next {
    kQuestion,
    kNotYet,  ///< fd() has nothing for now
    kEnd,
  };

  explicit NumberSource(std::vector<std::string> texts) : texts_(std::move(texts)) {}
  /// "-": standard input. Opening a pipe waits for its other end.
  static absl::StatusOr<NumberSource> Open(const std::string& file);

  /// Sets `*question` with kQuestion. Never waits but for a disk. Empty lines are left out; a line
  /// over 64 bytes is an error like any other, and not kept.
  absl::StatusOr<Next> Take(Question* question);
  /// For poll(2) after kNotYet.
  int fd() const { return file_.get(); }

 private:
  NumberSource(UniqueFd file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}
  static Question Ask(std::string_view text, const std::string& place);
  bool TakeLine(std::string* line);

  std::vector<std::string> texts_;
  std::size_t next_ = 0;

  UniqueFd file_;
  std::string name_;
  std::string buffer_;
  std::size_t used_ = 0;  ///< bytes of buffer_ that were taken
  std::string line_;      ///< the line under way; one byte more than allowed if it is too long
  std::uint64_t line_number_ = 0;
  bool ended_ = false;
};

}  // namespace ds::compute::tcp
