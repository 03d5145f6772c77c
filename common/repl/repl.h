#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace ds::repl {

struct ReplOptions {
  std::string program;
  std::string prompt = "> ";
  std::string history_file{};  ///< empty: none is kept
  std::size_t history_lines_max = 1000;
  std::size_t line_bytes_max = 16U << 20U;  ///< of a line from a pipe
  int interrupt_fd = -1;                    ///< Tool::interrupt_fd(); -1: none
};

/// Where a program keeps its history: "$XDG_STATE_HOME/distsys/<program>_history", or that below
/// ~/.local/state; empty where there is neither. The arguments are those variables, or null.
std::string HistoryFile(std::string_view program, const char* xdg_state_home, const char* home);

/// Reads commands from standard input. With a terminal at stdin and stdout it has a prompt, line
/// editing and a history, which is read at the start and written at the end, for nobody else to
/// read (0600). Else it has none of that, and standard output is flushed before a line is waited
/// for, and a session whose output is lost ends. One per program, used by one thread.
class Repl {
 public:
  explicit Repl(const ReplOptions& options);
  /// Writes the history and gives the terminal back.
  ~Repl();
  Repl(const Repl&) = delete;
  Repl& operator=(const Repl&) = delete;

  enum class Kind {
    kLine,
    kTooLong,      ///< beyond line_bytes_max: skipped to its end
    kEnd,          ///< end of the input, or the output cannot be written
    kInterrupted,  ///< interrupt_fd is readable
  };
  struct Input {
    Kind kind = Kind::kEnd;
    std::string line{};  ///< without its line end
  };
  /// Waits for the next line.
  Input Next();

  /// Whether there is a prompt.
  bool interactive() const;

 private:
  class Source;
  class Pipe;
  class Terminal;
  const bool interactive_;
  const std::unique_ptr<Source> source_;
};

}  // namespace ds::repl
