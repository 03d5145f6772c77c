#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "tests/harness/deadline.h"

namespace ds::testing {

/// A program that somebody types at, at a terminal of its own, or that another program writes to
/// through a pipe. Not thread-safe; the program is killed when the object goes.
class TypedSession {
 public:
  enum class Kind { kTerminal, kPipe };
  struct Options {
    std::string program;  ///< of $DS_BIN_DIR, or a path
    std::vector<std::string> arguments{};
    /// And the sanitizers' options; nothing else.
    std::vector<std::pair<std::string, std::string>> environment{};
    Kind kind = Kind::kTerminal;
  };

  static absl::StatusOr<std::unique_ptr<TypedSession>> Start(const Options& options);
  ~TypedSession();
  TypedSession(const TypedSession&) = delete;
  TypedSession& operator=(const TypedSession&) = delete;

  void Type(const std::string& text);
  /// Ends the input of a pipe.
  void CloseInput();

  /// Waits until `text` comes out of the program, on stdout or stderr, and forgets everything up to
  /// its end. False: it has not come within kDeadline, or before the program's end.
  bool See(const std::string& text);
  /// What has come since then.
  const std::string& unseen() const { return output_; }

  /// Whether the terminal is as it was: edits lines and echoes by itself.
  bool terminal_is_cooked() const;

  bool Signal(int signal);
  /// Waits for the end; as a shell says it: 128 + signal for a killed program.
  int Wait();

 private:
  TypedSession(pid_t pid, UniqueFd in, UniqueFd out);
  /// False: nothing more comes, or not within kDeadline.
  bool ReadSome();

  const pid_t pid_;
  UniqueFd in_;
  UniqueFd out_;
  std::string output_;
  bool waited_ = false;
};

}  // namespace ds::testing
