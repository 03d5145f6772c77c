#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "tests/harness/child_process.h"

namespace ds::testing {

struct ToolOptions {
  std::string stdin_text{};                                        ///< all of standard input
  std::string working_folder{};                                    ///< empty: that of the test
  std::vector<std::pair<std::string, std::string>> environment{};  ///< set in addition
  Duration timeout = std::chrono::seconds(60);  ///< then it is killed and the test fails
};

struct ToolResult {
  int exit_code = 0;  ///< 128 + signal when killed, 127 when it could not be started
  std::string out;
  std::string err;
};

/// Runs a program of $DS_BIN_DIR, or else of $PATH, or one given by its path, to its end. The test
/// fails if it cannot be started, takes too long, dies by a signal of its own, or prints a
/// sanitizer's report; the exit code is the test's to check. May be called from several threads.
ToolResult RunTool(const std::string& program, const std::vector<std::string>& arguments,
                   const ToolOptions& options = {});

/// The same in steps, for a tool that is to be signalled, or looked at, in the middle of its work.
/// Killed when the object goes. Not thread-safe.
class ToolProcess {
 public:
  ToolProcess(std::string program, std::vector<std::string> arguments, ToolOptions options = {});

  [[nodiscard]] absl::Status Start();

  // All of these REQUIRE a Start() that succeeded.

  /// False if the tool has ended.
  bool Signal(int signal);
  bool running();
  /// SIGSTOP, and waits until every thread of the process stands still.
  void Pause();
  void Resume();
  pid_t pid() const;
  /// What it has printed so far.
  std::string out() const;
  std::string err() const;
  /// Waits for the end, with the timeout of the options counted from this call.
  ToolResult Wait();

 private:
  const std::string program_;
  const std::vector<std::string> arguments_;
  const ToolOptions options_;
  std::unique_ptr<ChildProcess> child_;
};

}  // namespace ds::testing
