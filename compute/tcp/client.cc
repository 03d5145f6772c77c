#include "compute/tcp/client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/parse.h"
#include "common/base/time.h"
#include "common/daemon/progress_meter.h"
#include "common/net/endpoint.h"
#include "common/net/socket.h"
#include "compute/core/prime_answer_parser.h"
#include "compute/tcp/number_source.h"

namespace ds::compute::tcp {
namespace {

constexpr std::array kDefaultNumbers = {"15492781", "15492787", "15492803", "15492811",
                                        "15492810", "15492833", "15492859", "15502547",
                                        "15520301", "15527509", "15522343", "1550784"};
/// Questions without an answer: bounds what is held, and keeps a fast server busy.
constexpr std::size_t kWindow = 1024;
/// An error on the wire without newlines ends when nothing more comes for this time.
constexpr Duration kErrorPause = std::chrono::milliseconds(200);

/// One run: keeps up to a window of questions under way and prints the answers in their order. On
/// the classic wire the window is one and a number has no newline; the rest is the same.
class Conversation {
 public:
  Conversation(const ClientOptions& options, NumberSource source, daemon::Tool* tool)
      : options_(options), source_(std::move(source)), tool_(tool) {
    // On a terminal the results themselves show the progress.
    if (::isatty(STDOUT_FILENO) == 0) meter_.emplace();
  }

  /// Everything, from the connecting on. An error ends the run.
  absl::Status Run(const std::vector<net::Endpoint>& endpoints) {
    ASSIGN_OR_RETURN(socket_, net::ConnectTcp(endpoints, FromSeconds(options_.timeout_s),
                                              tool_->interrupt_fd()));
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (::getpeername(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0) {
      server_ = net::Endpoint(reinterpret_cast<const sockaddr*>(&address), length).ToString();
    }
    if (!options_.json) out_ += fmt::format("Connected to {}\n", server_);
    const absl::Status talked = Talk();
    meter_.reset();
    if (talked.ok() && !options_.json) out_ += "Completed\n";
    const absl::Status printed = Print();  // also what came before an error
    return talked.ok() ? printed : talked;
  }

  /// Some question was no number, or the server did not know.
  bool some_failed() const { return some_failed_; }

 private:
  absl::Status Talk() {
    progress_time_ = std::chrono::steady_clock::now();
    for (;;) {
      RETURN_IF_ERROR(Ask());
      if (asked_.empty() && source_state_ == NumberSource::Next::kEnd) return absl::OkStatus();
      RETURN_IF_ERROR(Print());
      if (asked_.empty() && source_state_ == NumberSource::Next::kQuestion) {
        // Nothing but non-numbers so far.
        if (tool_->interrupted()) return Error(absl::StatusCode::kCancelled, "interrupted");
        continue;
      }
      RETURN_IF_ERROR(Send());
      RETURN_IF_ERROR(Wait());
      RETURN_IF_ERROR(Receive());
    }
  }

  /// Takes questions until the window is full, there are none for now, or others have their turn.
  absl::Status Ask() {
    const std::size_t window = options_.pipeline ? kWindow : 1;
    for (std::size_t i = 0; i < kWindow && asked_.size() < window; ++i) {
      if (source_state_ == NumberSource::Next::kEnd) return absl::OkStatus();
      Question question;
      ASSIGN_OR_RETURN(source_state_, source_.Take(&question));
      if (source_state_ != NumberSource::Next::kQuestion) return absl::OkStatus();
      if (question.error.empty()) {
        if (asked_.empty()) progress_time_ = std::chrono::steady_clock::now();
        unsent_ += question.number.ToString();
        if (options_.pipeline) unsent_ += '\n';
      }
      asked_.push_back(std::move(question));
      ReportNonNumbers();
    }
    return absl::OkStatus();
  }

  absl::Status Send() {
    while (!unsent_.empty()) {
      const ssize_t n = ::send(socket_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return absl::OkStatus();
      // Answers, or why the server has closed, may be there to be read: that will tell.
      if (n < 0) unsent_.clear();
      if (n >= 0) unsent_.erase(0, static_cast<std::size_t>(n));
    }
    return absl::OkStatus();
  }

  /// Until the server, the source or the user says something.
  absl::Status Wait() {
    const bool source_waits = source_state_ == NumberSource::Next::kNotYet &&
                              asked_.size() < (options_.pipeline ? kWindow : 1);
    const auto socket_events = static_cast<short>(unsent_.empty() ? POLLIN : POLLIN | POLLOUT);
    for (;;) {
      std::array<pollfd, 3> fds = {pollfd{socket_.get(), socket_events, 0},
                                   pollfd{tool_->interrupt_fd(), POLLIN, 0},
                                   pollfd{source_waits ? source_.fd() : -1, POLLIN, 0}};
      int wait_ms = -1;
      if (!asked_.empty()) {
        const Duration limit = InBareError() ? kErrorPause : FromSeconds(options_.timeout_s);
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(
            progress_time_ + limit - std::chrono::steady_clock::now());
        wait_ms = static_cast<int>(std::max<std::int64_t>(0, left.count()));
      }
      const int ready = ::poll(fds.data(), fds.size(), wait_ms);
      if (ready < 0 && errno == EINTR) continue;
      if (ready < 0) return ErrnoError("poll", errno);
      if (fds[1].revents != 0) return Error(absl::StatusCode::kCancelled, "interrupted");
      if (ready > 0) return absl::OkStatus();
      if (!InBareError()) {
        return Error(absl::StatusCode::kDeadlineExceeded,
                     fmt::format("receive from {}: no answer to {} for {} s", server_,
                                 asked_.front().number.ToString(), options_.timeout_s));
      }
      return TakeAnswer(*parser_.End());
    }
  }

  bool InBareError() const { return !options_.pipeline && parser_.awaits_pause(); }

  absl::Status Receive() {
    std::array<char, 65536> buffer;
    const ssize_t n = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return absl::OkStatus();
    if (n <= 0) {
      const int error = n < 0 ? errno : 0;
      if (parser_.awaits_pause()) RETURN_IF_ERROR(TakeAnswer(*parser_.End()));
      std::string what = fmt::format("receive from {}", server_);
      if (!asked_.empty()) {
        what += fmt::format(": no answer to {}", asked_.front().number.ToString());
      }
      return error != 0 ? ErrnoError(what, error)
                        : Unavailable(what + ": the server has closed the connection");
    }
    std::string_view bytes(buffer.data(), static_cast<std::size_t>(n));
    progress_time_ = std::chrono::steady_clock::now();
    while (const auto answer = parser_.Take(&bytes)) RETURN_IF_ERROR(TakeAnswer(*answer));
    return absl::OkStatus();
  }

  absl::Status TakeAnswer(const PrimeAnswer& answer) {
    if (answer.kind == PrimeAnswer::Kind::kMalformed || asked_.empty()) {
      return Unavailable(fmt::format("receive from {}: not an answer of a prime server: \"{}\"",
                                     server_, EscapeBytes(answer.text)));
    }
    const std::string number = asked_.front().number.ToString();
    if (answer.kind == PrimeAnswer::Kind::kError) {
      ReportError(number, fmt::format("{}: {}", number, EscapeBytes(answer.text)));
    } else {
      const bool prime = answer.kind == PrimeAnswer::Kind::kPrime;
      if (options_.json) {
        out_ += nlohmann::ordered_json{{"number", number}, {"prime", prime}}.dump() + '\n';
      } else {
        out_ += fmt::format("{} is {}prime\n", number, prime ? "" : "not ");
      }
    }
    asked_.pop_front();
    if (meter_) meter_->AddItem();
    ReportNonNumbers();
    return absl::OkStatus();
  }

  /// What was no number is not sent; it is its turn once all before it were answered.
  void ReportNonNumbers() {
    while (!asked_.empty() && !asked_.front().error.empty()) {
      ReportError("", asked_.front().error);
      asked_.pop_front();
    }
  }

  void ReportError(const std::string& number, const std::string& why) {
    some_failed_ = true;
    if (options_.json) {
      nlohmann::ordered_json json;
      if (!number.empty()) json["number"] = number;
      json["error"] = why;
      out_ += json.dump() + '\n';
    }
    if (meter_) meter_->Wipe();
    daemon::PrintError("prime-client", why);
  }

  absl::Status Print() {
    if (out_.empty()) return absl::OkStatus();
    if (std::fwrite(out_.data(), 1, out_.size(), stdout) < out_.size() ||
        std::fflush(stdout) != 0) {
      return ErrnoError("write to standard output", errno);
    }
    out_.clear();
    return absl::OkStatus();
  }

  const ClientOptions& options_;
  NumberSource source_;
  daemon::Tool* const tool_;
  std::optional<daemon::ProgressMeter> meter_;
  UniqueFd socket_;
  std::string server_;
  NumberSource::Next source_state_ = NumberSource::Next::kQuestion;
  std::deque<Question> asked_;  ///< without an answer so far; at most a window
  std::string unsent_;
  std::string out_;
  PrimeAnswerParser parser_;
  TimePoint progress_time_;  ///< of the last byte that came, or of the first question
  bool some_failed_ = false;
};

absl::StatusOr<NumberSource> OpenSource(const ClientOptions& options) {
  if (!options.file.empty()) return NumberSource::Open(options.file);
  if (!options.numbers.empty()) return NumberSource(options.numbers);
  return NumberSource({kDefaultNumbers.begin(), kDefaultNumbers.end()});
}

}  // namespace

int RunClient(const ClientOptions& options, daemon::Tool* tool) {
  if (const auto valid = options.Validate(); !valid.ok()) return tool->Fail(valid);
  const auto host_port = net::HostPort::Parse(options.server);
  if (!host_port.ok()) return tool->Fail(host_port.status());
  auto source = OpenSource(options);
  if (!source.ok()) {
    daemon::PrintError("prime-client", Message(source.status()));
    return daemon::kExitFailure;
  }
  const auto endpoints = net::Endpoint::Resolve(*host_port);
  if (!endpoints.ok()) {
    daemon::PrintError("prime-client", Message(endpoints.status()));
    return daemon::kExitFailure;
  }
  tool->BeginWork();
  Conversation conversation(options, std::move(source).value(), tool);
  const absl::Status status = conversation.Run(*endpoints);
  if (tool->interrupted()) return tool->InterruptedExitCode();
  if (!status.ok()) {
    daemon::PrintError("prime-client", Message(status));
    return daemon::kExitFailure;
  }
  return conversation.some_failed() ? daemon::kExitFailure : daemon::kExitSuccess;
}

}  // namespace ds::compute::tcp
