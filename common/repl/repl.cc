#include "common/repl/repl.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <filesystem>
#include <system_error>
#include <utility>

#include "common/base/check.h"
#include "common/base/unique_fd.h"

namespace ds::repl {
namespace {

/// A history file larger than that is not ours.
constexpr std::uintmax_t kHistoryBytesMax = 4U << 20U;

constexpr char kEndOfInput = 4;  // Ctrl+D

/// Waits for standard input. False: interrupted.
bool WaitForInput(int interrupt_fd) {
  for (;;) {
    pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {interrupt_fd, POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;  // EINTR
    if (fds[1].revents != 0) return false;
    if (fds[0].revents != 0) return true;
  }
}

}  // namespace

std::string HistoryFile(std::string_view program, const char* xdg_state_home, const char* home) {
  // The XDG specification: a relative path is to be ignored.
  std::string folder;
  if (xdg_state_home != nullptr && xdg_state_home[0] == '/') {
    folder = xdg_state_home;
  } else if (home != nullptr && home[0] == '/') {
    folder = std::string(home) + "/.local/state";
  } else {
    return "";
  }
  return fmt::format("{}/distsys/{}_history", folder, program);
}

class Repl::Source {
 public:
  virtual ~Source() = default;
  virtual Input Next() = 0;
};

/// Lines of a pipe or file.
class Repl::Pipe : public Source {
 public:
  explicit Pipe(const ReplOptions& options)
      : line_bytes_max_(options.line_bytes_max), interrupt_fd_(options.interrupt_fd) {}

  Input Next() override {
    // Nobody gets the answers: no reason to ask on.
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) return {Kind::kEnd};
    bool too_long = false;
    std::size_t searched = 0;
    for (;;) {
      const std::size_t end = buffer_.find('\n', searched);
      if (end != std::string::npos) {
        Input input{Kind::kLine, buffer_.substr(0, end)};
        buffer_.erase(0, end + 1);
        return Checked(std::move(input), too_long);
      }
      searched = buffer_.size();
      if (buffer_.size() > line_bytes_max_) {
        too_long = true;
        buffer_.clear();
        searched = 0;
      }
      if (!WaitForInput(interrupt_fd_)) return {Kind::kInterrupted};
      std::array<char, 65536> bytes;
      const ssize_t n = ::read(STDIN_FILENO, bytes.data(), bytes.size());
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n > 0) {
        buffer_.append(bytes.data(), static_cast<std::size_t>(n));
      } else if (buffer_.empty()) {
        return {too_long ? Kind::kTooLong : Kind::kEnd};
      } else {
        return Checked({Kind::kLine, std::exchange(buffer_, "")}, too_long);
      }
    }
  }

 private:
  Input Checked(Input input, bool too_long) const {
    if (too_long || input.line.size() > line_bytes_max_) return {Kind::kTooLong};
    if (input.line.ends_with('\r')) input.line.pop_back();
    return input;
  }

  const std::size_t line_bytes_max_;
  const int interrupt_fd_;
  std::string buffer_;  ///< read, and not given out
};

/// Lines that somebody types.
class Repl::Terminal : public Source {
 public:
  explicit Terminal(const ReplOptions& options) : options_(options) {
    // libedit decodes what is typed by the locale.
    // NOLINTBEGIN(concurrency-mt-unsafe): one thread, and nobody else sets a locale
    if (std::setlocale(LC_CTYPE, "") == nullptr ||
        std::strcmp(::nl_langinfo(CODESET), "UTF-8") != 0) {
      std::setlocale(LC_CTYPE, "C.UTF-8");
    }
    // NOLINTEND(concurrency-mt-unsafe)
    edit_ = ::el_init(options_.program.c_str(), stdin, stdout, stderr);
    CHECK(edit_ != nullptr, "libedit");
    history_ = ::history_init();
    CHECK(history_ != nullptr, "libedit");
    HistEvent event;
    ::history(history_, &event, H_SETSIZE, static_cast<int>(options_.history_lines_max));
    ::history(history_, &event, H_SETUNIQUE, 1);
    std::error_code error;
    if (!options_.history_file.empty() &&
        std::filesystem::file_size(options_.history_file, error) <= kHistoryBytesMax && !error) {
      ::history(history_, &event, H_LOAD, options_.history_file.c_str());
    }
    ::el_set(edit_, EL_CLIENTDATA, this);
    ::el_set(edit_, EL_PROMPT, &Terminal::Prompt);
    ::el_set(edit_, EL_EDITOR, "emacs");
    ::el_set(edit_, EL_SIGNAL, 0);  // they are the program's
    ::el_set(edit_, EL_HIST, ::history, history_);
    ::el_set(edit_, EL_GETCFN, &Terminal::ReadCharacter);
    ::el_source(edit_, nullptr);  // ~/.editrc
  }

  ~Terminal() override {
    ::el_end(edit_);
    SaveHistory();
    ::history_end(history_);
  }

  Input Next() override {
    int count = 0;
    const char* typed = ::el_gets(edit_, &count);
    if (interrupted_) {
      std::fputc('\n', stdout);
      return {Kind::kInterrupted};
    }
    if (typed == nullptr || count <= 0) {
      std::fputc('\n', stdout);
      return {Kind::kEnd};
    }
    Input input{Kind::kLine, typed};
    while (input.line.ends_with('\n') || input.line.ends_with('\r')) input.line.pop_back();
    if (input.line.find_first_not_of(" \t") != std::string::npos) {
      HistEvent event;
      ::history(history_, &event, H_ENTER, input.line.c_str());
    }
    return input;
  }

 private:
  static char* Prompt(EditLine* edit) { return Of(edit)->options_.prompt.data(); }

  static Terminal* Of(EditLine* edit) {
    void* terminal = nullptr;
    ::el_get(edit, EL_CLIENTDATA, &terminal);
    return static_cast<Terminal*>(terminal);
  }

  /// Reads one character for libedit: 1; the end or an interrupt: 0; an error: -1.
  static int ReadCharacter(EditLine* edit, wchar_t* character) {
    Terminal* terminal = Of(edit);
    std::mbstate_t state{};
    for (;;) {
      if (!WaitForInput(terminal->options_.interrupt_fd)) {
        terminal->interrupted_ = true;
        return 0;
      }
      char byte = 0;
      const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n <= 0) return static_cast<int>(n);
      // Ctrl+D that was typed before the terminal was given to us: the kernel's mark of an end.
      if (byte == '\0') byte = kEndOfInput;
      // NOLINTNEXTLINE(concurrency-mt-unsafe): its state is ours
      const std::size_t used = std::mbrtowc(character, &byte, 1, &state);
      if (used == static_cast<std::size_t>(-2)) continue;  // more bytes belong to it
      if (used == static_cast<std::size_t>(-1)) {          // no character: as if not typed
        state = {};
        continue;
      }
      return 1;
    }
  }

  /// Whole or not at all, for nobody else to read. A history that cannot be written is no reason
  /// to fail.
  void SaveHistory() {
    if (options_.history_file.empty()) return;
    const std::filesystem::path file(options_.history_file);
    std::error_code error;
    if (std::filesystem::create_directories(file.parent_path(), error)) {
      std::filesystem::permissions(file.parent_path(), std::filesystem::perms::owner_all, error);
    }
    std::string temporary = options_.history_file + ".XXXXXX";
    UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));  // 0600
    if (!fd) return;
    FILE* out = ::fdopen(fd.get(), "w");
    if (out == nullptr) return;
    (void)fd.Release();
    HistEvent event;
    const bool written = ::history(history_, &event, H_SAVE_FP, out) >= 0;
    if (std::fclose(out) == 0 && written) {
      std::filesystem::rename(temporary, file, error);
      if (!error) return;
    }
    ::unlink(temporary.c_str());
  }

  ReplOptions options_;
  EditLine* edit_ = nullptr;
  History* history_ = nullptr;
  bool interrupted_ = false;
};

Repl::Repl(const ReplOptions& options)
    : interactive_(::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1),
      source_(interactive_ ? std::unique_ptr<Source>(std::make_unique<Terminal>(options))
                           : std::make_unique<Pipe>(options)) {}

Repl::~Repl() = default;

Repl::Input Repl::Next() { return source_->Next(); }

bool Repl::interactive() const { return interactive_; }

}  // namespace ds::repl
