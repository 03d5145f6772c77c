#include "compute/zmq/client.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/parse.h"
#include "common/repl/repl.h"
#include "compute/core/command.h"
#include "compute/core/text.h"
#include "compute/zmq/classic_session.h"
#include "compute/zmq/reliable_session.h"

namespace ds::compute::zmq {
namespace {

constexpr const char* kProgram = "zmq-client";
/// More than any broker takes; the broker says so.
constexpr std::size_t kLineBytesMax = 64 << 10;

/// A text of a peer for a terminal or a script: control characters as \xNN, and everything if it is
/// not UTF-8.
std::string Shown(std::string_view text) {
  if (!CheckUtf8("", text).ok()) return EscapeBytes(text);
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7f ? EscapeBytes(std::string_view(&c, 1)) : std::string(1, c);
  }
  return shown;
}

class Client {
 public:
  Client(const ClientOptions& options, daemon::Tool* tool) : options_(options), tool_(tool) {}

  /// Whether all went well.
  absl::StatusOr<bool> Run() {
    RETURN_IF_ERROR(options_.Validate());
    tool_->BeginWork();
    RETURN_IF_ERROR(Open());
    if (!options_.command.empty()) {
      const std::string line = fmt::format("{}", fmt::join(options_.command, " "));
      ASSIGN_OR_RETURN(const std::string answer, Ask(line));
      if (IsErrorAbout(line, answer)) {
        daemon::PrintError(kProgram, Shown(answer.substr(7)));
        return false;
      }
      return true;
    }
    return Converse();
  }

 private:
  absl::Status Open() {
    if (!options_.reliable.empty()) {
      ASSIGN_OR_RETURN(net::HostPort broker, ParseAddress(options_.reliable));
      ReliableClient::Options session;
      if (options_.timeout_s) session.request_time = FromSeconds(*options_.timeout_s);
      reliable_.emplace(&context_, std::move(broker), session, tool_->interrupt_fd());
      return absl::OkStatus();
    }
    ClassicSession::Options session;
    if (options_.timeout_s) session.timeout = FromSeconds(*options_.timeout_s);
    session.interrupt_fd = tool_->interrupt_fd();
    ASSIGN_OR_RETURN(session.client_in, ParseAddress(options_.client_in));
    ASSIGN_OR_RETURN(session.client_out, ParseAddress(options_.client_out));
    ASSIGN_OR_RETURN(auto opened, ClassicSession::Open(&context_, session));
    classic_.emplace(std::move(opened));
    return absl::OkStatus();
  }

  /// The answer, which was printed, unless it is the only one and an error.
  absl::StatusOr<std::string> Ask(const std::string& line) {
    if (classic_) {
      return classic_->Ask(line, [&](const std::string& text) {
        const bool error = IsErrorAbout(line, text);
        if (options_.command.empty() || !error) Print(text, error);
      });
    }
    auto answer = reliable_->Ask(line);
    if (answer.ok()) Print(*answer, IsErrorAbout(line, *answer));
    return answer;
  }

  absl::StatusOr<bool> Converse() {
    // NOLINTBEGIN(concurrency-mt-unsafe): nobody sets the environment
    const std::string history =
        repl::HistoryFile(kProgram, std::getenv("XDG_STATE_HOME"), std::getenv("HOME"));
    // NOLINTEND(concurrency-mt-unsafe)
    repl::Repl repl({.program = kProgram,
                     .history_file = history,
                     .line_bytes_max = kLineBytesMax,
                     .interrupt_fd = tool_->interrupt_fd()});
    bool all_well = true;
    for (;;) {
      const repl::Repl::Input input = repl.Next();
      if (input.kind == repl::Repl::Kind::kEnd) break;
      if (input.kind == repl::Repl::Kind::kInterrupted) {
        return Error(absl::StatusCode::kCancelled, "interrupted");
      }
      if (input.kind == repl::Repl::Kind::kTooLong) {
        daemon::PrintError(kProgram, fmt::format("a line has over {} bytes", kLineBytesMax));
        all_well = false;
        continue;
      }
      if (input.line.empty()) {
        if (classic_) {
          // To which line is not known.
          classic_->ReadArrived(
              [&](const std::string& text) { Print(text, text.starts_with("error: ")); });
        }
        continue;
      }
      const auto answer = Ask(input.line);
      if (answer.status().code() == absl::StatusCode::kCancelled) return answer.status();
      if (!answer.ok()) {
        std::fflush(stdout);
        daemon::PrintError(kProgram, Shown(Message(answer.status())));
      }
      all_well &= answer.ok() && !IsErrorAbout(input.line, *answer);
    }
    // With a terminal somebody has seen it.
    return all_well || repl.interactive();
  }

  void Print(const std::string& text, bool error) const {
    if (options_.json) {
      const nlohmann::ordered_json json = {{"answer", Shown(text)}, {"error", error}};
      std::printf("%s\n", json.dump().c_str());
    } else {
      std::printf("%s\n", Shown(text).c_str());
    }
  }

  const ClientOptions& options_;
  daemon::Tool* const tool_;
  ZmqContext context_;
  std::optional<ClassicSession> classic_;
  std::optional<ReliableSession> reliable_;
};

}  // namespace

int RunClient(const ClientOptions& options, daemon::Tool* tool) {
  const absl::StatusOr<bool> run = Client(options, tool).Run();
  if (run.status().code() == absl::StatusCode::kCancelled) {
    std::puts("Terminating client");
    std::fflush(stdout);
    return tool->InterruptedExitCode();
  }
  // Also where the exit code is 1 anyway: an answer that was an error may be what is lost.
  if (const absl::Status output = daemon::FlushOutput(); !output.ok()) return tool->Fail(output);
  if (run.ok()) return *run ? daemon::kExitSuccess : daemon::kExitFailure;
  if (options.Validate().ok() && run.status().code() == absl::StatusCode::kInvalidArgument) {
    daemon::PrintError(kProgram, Shown(Message(run.status())));  // the work failed, not the usage
    return daemon::kExitFailure;
  }
  return tool->Fail(run.status());
}

}  // namespace ds::compute::zmq
