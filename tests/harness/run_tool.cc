#include "tests/harness/run_tool.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>

#include "common/base/check.h"
#include "tests/harness/deadline.h"
#include "tests/harness/eventually.h"
#include "tests/harness/proc.h"

namespace ds::testing {

ToolResult RunTool(const std::string& program, const std::vector<std::string>& arguments,
                   const ToolOptions& options) {
  ToolProcess tool(program, arguments, options);
  if (const absl::Status started = tool.Start(); !started.ok()) {
    ADD_FAILURE() << Message(started);
    return {.exit_code = 127, .out = "", .err = Message(started)};
  }
  return tool.Wait();
}

ToolProcess::ToolProcess(std::string program, std::vector<std::string> arguments,
                         ToolOptions options)
    : program_(std::move(program)),
      arguments_(std::move(arguments)),
      options_(std::move(options)) {}

absl::Status ToolProcess::Start() {
  CHECK(child_ == nullptr, "started twice");
  ASSIGN_OR_RETURN(std::string path, FindProgram(program_, /*search_path=*/true));
  ASSIGN_OR_RETURN(child_, ChildProcess::Start({.program = std::move(path),
                                                .arguments = arguments_,
                                                .working_folder = options_.working_folder,
                                                .environment = options_.environment,
                                                .open_files_max = std::nullopt,
                                                .stdin_text = options_.stdin_text}));
  return absl::OkStatus();
}

bool ToolProcess::Signal(int signal) {
  CHECK(child_ != nullptr, "not started");
  return child_->Signal(signal);
}

bool ToolProcess::running() {
  CHECK(child_ != nullptr, "not started");
  return child_->Wait(Duration::zero()).Running();
}

void ToolProcess::Pause() {
  EXPECT_TRUE(Signal(SIGSTOP)) << program_ << ": not running";
  EXPECT_TRUE(
      Eventually(kDeadline, program_ + " stands still", [&] { return StandsStill(pid()); }));
}

void ToolProcess::Resume() { EXPECT_TRUE(Signal(SIGCONT)) << program_ << ": not running"; }

pid_t ToolProcess::pid() const {
  CHECK(child_ != nullptr, "not started");
  return child_->pid();
}

std::string ToolProcess::out() const {
  CHECK(child_ != nullptr, "not started");
  return child_->out().Text();
}

std::string ToolProcess::err() const {
  CHECK(child_ != nullptr, "not started");
  return child_->err().Text();
}

ToolResult ToolProcess::Wait() {
  CHECK(child_ != nullptr, "not started");
  const Duration timeout = options_.timeout * kSlowdown;
  WaitStatus status = child_->Wait(timeout);
  std::string problem;
  if (status.Running()) {
    problem = fmt::format("not done after {} s", std::chrono::duration<double>(timeout).count());
    child_->KillGroup();
    status = child_->Wait(kDeadline);
  } else if (status.kind == WaitStatus::Kind::kSignalled && !child_->HasSent(status.value)) {
    problem = "ended by " + status.ToString();
  }
  ToolResult result{.exit_code = status.ExitCode(), .out = out(), .err = err()};
  if (const auto report = SanitizerReport(result.err)) problem = *report;
  if (!problem.empty()) {
    ADD_FAILURE() << program_ << ": " << problem << "; the end of its stderr:\n"
                  << LastLines(result.err);
  }
  return result;
}

}  // namespace ds::testing
