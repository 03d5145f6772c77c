#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "common/base/parse.h"
#include "common/daemon/tool.h"
#include "common/repl/repl.h"
#include "compute/text/client.h"
#include "compute/text/text_command.h"

namespace {

using namespace ds;  // NOLINT(google-build-using-namespace)

constexpr const char* kName = "text-client";

/// What one command came to.
enum class Outcome { kDone, kSomeFailed, kExit };

/// Runs commands and prints what they give.
class Commands {
 public:
  Commands(compute::TextClient* client, bool json) : client_(client), json_(json) {}

  /// Errors of single numbers are printed at once; any other is returned.
  absl::StatusOr<Outcome> Run(const compute::TextCommand& command) {
    return std::visit([&](const auto& one) { return RunOne(one); }, command);
  }

  /// Why something could not be printed.
  const absl::Status& printed() const { return printed_; }

 private:
  absl::StatusOr<Outcome> RunOne(const compute::NoCommand& /*command*/) { return Outcome::kDone; }

  absl::StatusOr<Outcome> RunOne(const compute::ExitCommand& /*command*/) {
    // Nothing to be read by a program that reads objects.
    if (!json_) Print("Shutting down");
    return Outcome::kExit;
  }

  absl::StatusOr<Outcome> RunOne(const compute::ReverseCommand& command) {
    ASSIGN_OR_RETURN(const std::string reversed, client_->Reverse(command.text));
    Print(json_ ? nlohmann::json{{"text", reversed}}.dump() : reversed);
    return Outcome::kDone;
  }

  absl::StatusOr<Outcome> RunOne(const compute::SplitCommand& command) {
    ASSIGN_OR_RETURN(const std::vector<std::string> parts, client_->Split(command.text, " "));
    if (json_) {
      Print(nlohmann::json{{"count", parts.size()}, {"parts", parts}}.dump());
    } else {
      Print(fmt::format("Number of parts: {}\n{}", parts.size(), fmt::join(parts, "\n")));
    }
    return Outcome::kDone;
  }

  absl::StatusOr<Outcome> RunOne(const compute::IsPrimeCommand& command) {
    Outcome outcome = Outcome::kDone;
    std::size_t asked = 0;
    RETURN_IF_ERROR(client_->IsPrime(command.numbers, [&](const auto& answer) {
      const std::string& number = command.numbers[asked++];
      if (!answer.error.empty()) {
        outcome = Outcome::kSomeFailed;
        if (json_) {
          Print(nlohmann::json{{"number", number}, {"error", answer.error}}.dump());
        } else {
          daemon::PrintError(kName, "isprime: " + answer.error);
        }
      } else if (json_) {
        Print(nlohmann::json{{"number", answer.number}, {"prime", answer.prime}}.dump());
      } else {
        Print(fmt::format("{} {} prime", answer.number, answer.prime ? "is" : "is not"));
      }
    }));
    return outcome;
  }

  void Print(const std::string& line) {
    const bool printed = std::fwrite(line.data(), 1, line.size(), stdout) == line.size() &&
                         std::fputc('\n', stdout) != EOF && std::fflush(stdout) == 0;
    if (!printed && printed_.ok()) printed_ = ErrnoError("write to standard output", errno);
  }

  compute::TextClient* const client_;
  const bool json_;
  absl::Status printed_;
};

int RunOneShot(daemon::Tool& tool, Commands& commands, const compute::TextCommand& command) {
  const auto outcome = commands.Run(command);
  if (!commands.printed().ok()) return tool.Fail(commands.printed());
  if (!outcome.ok()) {
    if (tool.interrupted()) return tool.InterruptedExitCode();
    daemon::PrintError(kName, Message(outcome.status()));
    return daemon::kExitFailure;
  }
  return *outcome == Outcome::kSomeFailed ? daemon::kExitFailure : daemon::kExitSuccess;
}

int RunSession(daemon::Tool& tool, Commands& commands, compute::TextClient& client) {
  if (const absl::Status connected = client.Connect(); !connected.ok()) {
    if (tool.interrupted()) return tool.InterruptedExitCode();
    daemon::PrintError(kName, Message(connected));
    return daemon::kExitFailure;
  }
  // NOLINTBEGIN(concurrency-mt-unsafe): nobody sets the environment
  const std::string history =
      repl::HistoryFile(kName, std::getenv("XDG_STATE_HOME"), std::getenv("HOME"));
  // NOLINTEND(concurrency-mt-unsafe)
  repl::Repl repl({.program = kName, .history_file = history, .interrupt_fd = tool.interrupt_fd()});
  bool all_well = true;
  // With a terminal somebody has seen it.
  const auto exit_code = [&] {
    return all_well || repl.interactive() ? daemon::kExitSuccess : daemon::kExitFailure;
  };
  for (;;) {
    const repl::Repl::Input input = repl.Next();
    switch (input.kind) {
      case repl::Repl::Kind::kEnd:
        return exit_code();
      case repl::Repl::Kind::kInterrupted:
        return tool.InterruptedExitCode();
      case repl::Repl::Kind::kTooLong:
        daemon::PrintError(kName, "read a command: the line is too long");
        all_well = false;
        continue;
      case repl::Repl::Kind::kLine:
        break;
    }
    const auto command = compute::ParseTextCommand(input.line);
    const auto outcome = command.ok() ? commands.Run(*command) : command.status();
    if (!commands.printed().ok()) return tool.Fail(commands.printed());
    if (outcome.ok() && *outcome == Outcome::kExit) return exit_code();
    all_well &= outcome.ok() && *outcome == Outcome::kDone;
    if (outcome.ok()) continue;
    if (tool.interrupted()) return tool.InterruptedExitCode();
    daemon::PrintError(kName, Message(outcome.status()));
  }
}

}  // namespace

int main(int argc, char** argv) {
  daemon::Tool tool(
      {.name = kName,
       .summary = "Asks a text-server. Without a command it reads commands from standard input. "
                  "Exits 0 when all was answered, 1 when the server was not there, an answer was "
                  "an error (in a session at a terminal: 0) or could not be printed, 130 when "
                  "interrupted."});
  compute::TextClientOptions options;
  bool json = false;
  auto& flags = tool.flags();
  flags.add_option("SERVER", options.server, "HOST:PORT")->required();
  flags.footer(
      "Behind SERVER: reverse TEXT…, split TEXT… (at single spaces), isprime NUMBER…, or nothing. "
      "Text that begins with - stands behind --.");
  flags.add_flag("--json", json, "Print each result as a JSON object");
  flags.add_option("--timeout", options.timeout_s, "Seconds that a command may take")
      ->check(daemon::Seconds(0.001, 86400))
      ->capture_default_str();
  rpc::AddTlsFlags(flags, &options.channel.tls, rpc::TlsEnd::kClient);
  std::vector<std::string> words;
  if (const auto code = tool.ParseWithWords(argc, argv, &words)) return *code;

  const std::string line = fmt::format("{}", fmt::join(words, " "));
  const auto command = compute::ParseTextCommand(line);
  if (!command.ok()) return tool.Fail(command.status());
  tool.BeginWork();
  options.interrupt_fd = tool.interrupt_fd();
  const auto client = compute::TextClient::Create(options);
  if (!client.ok()) return tool.Fail(client.status());
  Commands commands(client->get(), json);
  if (words.empty()) return RunSession(tool, commands, **client);
  return RunOneShot(tool, commands, *command);
}
