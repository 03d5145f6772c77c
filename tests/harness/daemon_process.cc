#include "tests/harness/daemon_process.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string_view>

#include "common/base/check.h"
#include "tests/harness/eventually.h"
#include "tests/harness/proc.h"

namespace ds::testing {
namespace {

/// "READY <program> key=value key=value"
std::map<std::string, std::string> ParseKeys(const std::string& line) {
  std::map<std::string, std::string> keys;
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    if (const std::size_t equals = word.find('='); equals != std::string::npos) {
      keys.emplace(word.substr(0, equals), word.substr(equals + 1));
    }
  }
  return keys;
}

/// The first complete line that begins with `prefix`.
std::optional<std::string> FindLine(const std::string& text, const std::string& prefix) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    if (text.compare(begin, prefix.size(), prefix) == 0) return text.substr(begin, end - begin);
    begin = end + 1;
  }
  return std::nullopt;
}

}  // namespace

DaemonProcess::DaemonProcess(Options options)
    : options_(std::move(options)),
      name_(std::filesystem::path(options_.program).filename().string()) {}

DaemonProcess::~DaemonProcess() {
  if (child_ == nullptr) return;
  if (Look(Duration::zero()).Running()) {
    const int code = Terminate();
    EXPECT_EQ(code, 0) << name_ << ": ended by SIGTERM at the end of the test";
  } else if (!end_told_) {
    const WaitStatus status = child_->Wait(Duration::zero());
    const bool asked_for = child_->HasSent(SIGTERM) || child_->HasSent(SIGINT);
    const bool as_told = status.kind == WaitStatus::Kind::kSignalled
                             ? child_->HasSent(status.value)
                             : asked_for && status.Exited(0);
    // A signal of its own is a failure already.
    EXPECT_TRUE(as_told || status.kind == WaitStatus::Kind::kSignalled)
        << name_ << ": ended with " << status << ", and the test did not ask (see Wait())";
  }
  if (::testing::Test::HasFailure()) PrintLog();
}

absl::Status DaemonProcess::Start() {
  if (child_ != nullptr) {
    CHECK(!Look(Duration::zero()).Running(), "already running");
    earlier_log_ = LastLines(child_->err().Text());
    child_.reset();
  }
  keys_.clear();
  end_checked_ = end_told_ = paused_ = false;
  ASSIGN_OR_RETURN(std::string path, FindProgram(options_.program, /*search_path=*/false));
  std::vector<std::string> arguments = options_.arguments;
  arguments.emplace_back("--exit-on-stdin-close");
  ASSIGN_OR_RETURN(child_, ChildProcess::Start({.program = std::move(path),
                                                .arguments = std::move(arguments),
                                                .working_folder = options_.working_folder,
                                                .environment = options_.environment,
                                                .open_files_max = options_.open_files_max,
                                                .as_nobody = options_.as_nobody}));
  return absl::OkStatus();
}

absl::Status DaemonProcess::WaitReady(Duration deadline) {
  CHECK(child_ != nullptr, "not started");
  const std::string prefix = fmt::format("READY {} ", name_);
  const TimePoint end = std::chrono::steady_clock::now() + deadline * kSlowdown;
  std::optional<std::string> line;
  const auto find_line = [&](const std::string& text) {
    line = FindLine(text, prefix);
    return line.has_value();
  };
  std::string why;
  while (why.empty()) {
    // In slices: the end of the process is not always the end of its output.
    if (child_->out().WaitFor(std::chrono::milliseconds(20), find_line)) {
      keys_ = ParseKeys(*line);
      return absl::OkStatus();
    }
    const WaitStatus status = Look(Duration::zero());
    if (!status.Running()) {
      if (find_line(child_->out().Text())) continue;  // it was ready, for a moment
      end_told_ = true;
      why = "it ended with " + status.ToString();
    } else if (std::chrono::steady_clock::now() >= end) {
      why = fmt::format("not within {} s",
                        std::chrono::duration<double>(deadline * kSlowdown).count());
    }
  }
  PrintLog();
  return Unavailable(fmt::format("wait for the ready line of {}: {}", name_, why));
}

absl::Status DaemonProcess::StartAndWaitReady(Duration deadline) {
  RETURN_IF_ERROR(Start());
  return WaitReady(deadline);
}

absl::Status DaemonProcess::Restart() {
  if (child_ != nullptr && running()) {
    const int code = Terminate();
    EXPECT_EQ(code, 0) << name_ << ": ended by SIGTERM to be restarted";
  }
  return StartAndWaitReady();
}

std::string DaemonProcess::Key(const std::string& name) const {
  const auto found = keys_.find(name);
  return found == keys_.end() ? "" : found->second;
}

net::HostPort DaemonProcess::address() const {
  const std::string listen = Key("listen");
  auto parsed = net::HostPort::Parse(listen.substr(0, listen.find(',')));
  return parsed.ok() ? *std::move(parsed) : net::HostPort{};
}

std::vector<std::string> DaemonProcess::stdout_lines() const {
  std::vector<std::string> lines;
  if (child_ == nullptr) return lines;
  const std::string text = child_->out().Text();
  for (std::size_t begin = 0, end = 0; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    lines.push_back(text.substr(begin, end - begin));
  }
  return lines;
}

std::string DaemonProcess::stderr_text() const {
  return child_ == nullptr ? "" : child_->err().Text();
}

pid_t DaemonProcess::pid() const {
  CHECK(child_ != nullptr, "not started");
  return child_->pid();
}

bool DaemonProcess::running() { return child_ != nullptr && Look(Duration::zero()).Running(); }

bool DaemonProcess::Signal(int signal) { return child_ != nullptr && child_->Signal(signal); }

void DaemonProcess::CloseStdin() {
  CHECK(child_ != nullptr, "not started");
  child_->CloseStdin();
}

WaitStatus DaemonProcess::Look(Duration timeout) {
  CHECK(child_ != nullptr, "not started");
  const WaitStatus status = child_->Wait(timeout);
  if (status.Running() || end_checked_) return status;
  end_checked_ = true;
  const std::string log = child_->err().Text();
  std::string problem;
  if (status.kind == WaitStatus::Kind::kSignalled && !child_->HasSent(status.value)) {
    problem = fmt::format("ended by {}, which the test has not sent", status.ToString());
  }
  if (const auto report = SanitizerReport(log)) problem = *report;
  if (!problem.empty()) {
    ADD_FAILURE() << name_ << ": " << problem << "; the end of its log:\n" << LastLines(log);
  }
  return status;
}

WaitStatus DaemonProcess::Wait(Duration deadline) {
  const WaitStatus status = Look(deadline * kSlowdown);
  if (!status.Running()) end_told_ = true;
  return status;
}

int DaemonProcess::Terminate() {
  Signal(SIGTERM);
  if (paused_) Resume();
  WaitStatus status = Wait();
  if (status.Running()) {
    ADD_FAILURE() << name_ << ": does not end after SIGTERM; the end of its log:\n"
                  << LastLines(stderr_text());
    child_->KillGroup();
    status = Wait();
  }
  return status.ExitCode();
}

void DaemonProcess::Kill() {
  Signal(SIGKILL);
  const WaitStatus status = Wait();
  EXPECT_FALSE(status.Running()) << name_ << ": does not end after SIGKILL";
}

void DaemonProcess::Pause() {
  EXPECT_TRUE(Signal(SIGSTOP)) << name_ << ": not running";
  paused_ = true;
  EXPECT_TRUE(Eventually(kDeadline, name_ + " stands still", [&] { return StandsStill(pid()); }));
}

void DaemonProcess::Resume() {
  EXPECT_TRUE(Signal(SIGCONT)) << name_ << ": not running";
  paused_ = false;
}

std::size_t DaemonProcess::open_descriptors() {
  return running() ? ListFolder(fmt::format("/proc/{}/fd", pid())).size() : 0;
}

std::uint64_t DaemonProcess::resident_bytes() {
  if (!running()) return 0;
  std::ifstream status(fmt::format("/proc/{}/status", pid()));
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t kibibytes = 0;
    if (words >> name >> kibibytes && name == "VmRSS:") return kibibytes * 1024;
  }
  return 0;
}

std::chrono::milliseconds DaemonProcess::cpu_time() {
  if (!running()) return {};
  // utime and stime are the fields 14 and 15 of proc(5); the state is field 3.
  const auto fields = StatFields(fmt::format("/proc/{}/stat", pid()));
  if (fields.size() < 13) return {};
  const std::uint64_t ticks = std::stoull(fields[11]) + std::stoull(fields[12]);
  return std::chrono::milliseconds(ticks * 1000 /
                                   static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK)));
}

void DaemonProcess::PrintLog() const {
  if (!earlier_log_.empty()) {
    std::cerr << "--- " << name_ << ", end of the log of the run before ---\n" << earlier_log_;
  }
  if (child_ == nullptr) return;
  std::cerr << "--- " << name_ << " (pid " << child_->pid() << "), end of its log ---\n"
            << LastLines(child_->err().Text()) << "---\n";
}

}  // namespace ds::testing
