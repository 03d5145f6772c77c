#include "compute/zmq/reliable_session.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <array>
#include <utility>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "compute/core/command.h"

namespace ds::compute::zmq {
namespace {

/// Answers that are taken before anything is sent.
constexpr int kBatch = 256;

std::string Nonce() {
  std::string nonce(8, '\0');
  CHECK(::getrandom(nonce.data(), nonce.size(), 0) == static_cast<ssize_t>(nonce.size()));
  return nonce;
}

}  // namespace

ReliableSession::ReliableSession(ZmqContext* context, net::HostPort broker,
                                 const ReliableClient::Options& options, int interrupt_fd)
    : context_(context),
      broker_address_(std::move(broker)),
      interrupt_fd_(interrupt_fd),
      core_(options, Nonce(), std::chrono::steady_clock::now()) {}

absl::Status ReliableSession::Execute(ReliableClient::Output& output) {
  if (output.reconnect) {
    Socket::Options options;
    options.linger = Duration::zero();
    options.queue_max = 8192;
    ASSIGN_OR_RETURN(Socket broker, Socket::Create(context_, Socket::Type::kDealer, options));
    RETURN_IF_ERROR(broker.Connect(broker_address_));
    broker_.reset();
    broker_.emplace(std::move(broker));
  }
  for (const ReliableMessage& message : output.to_broker) {
    broker_->Send(EncodeReliable(message));  // what the queue has no room for is sent again later
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ReliableClient::Result>> ReliableSession::Turn(
    std::optional<TimePoint> until) {
  auto output = core_.TakeOutput();
  RETURN_IF_ERROR(Execute(output));
  if (!output.results.empty()) return std::move(output.results);
  if (const auto next = core_.NextDeadline(); next && (!until || *next < *until)) until = next;
  std::array<PollItem, 2> items;
  items[0].socket = &*broker_;
  items[1].fd = interrupt_fd_;
  RETURN_IF_ERROR(Poll(std::span(items).first(interrupt_fd_ < 0 ? 1 : 2), until));
  if (items[1].ready) return Error(absl::StatusCode::kCancelled, "interrupted");
  const TimePoint now = std::chrono::steady_clock::now();
  for (int i = 0; i < kBatch; ++i) {
    const auto frames = broker_->Receive();
    if (!frames) break;
    core_.HandleFrames(*frames, now);
  }
  if (core_.other_version()) {
    return Unavailable(fmt::format("{}: the broker speaks another version of the reliable service",
                                   broker_address_.ToString()));
  }
  core_.HandleTimeout(now);
  output = core_.TakeOutput();
  RETURN_IF_ERROR(Execute(output));
  return std::move(output.results);
}

absl::StatusOr<std::string> ReliableSession::Ask(const std::string& line) {
  if (!IsCommandLine(line)) {
    return InvalidArgument(fmt::format("{}: commands are isprime N and gcd A B",
                                       EscapeBytes(std::string_view(line).substr(0, 64))));
  }
  const auto command = ParseCommand(line);
  if (!command.ok()) {
    return InvalidArgument(ErrorAnswer(line, Message(command.status())).substr(7));
  }
  RETURN_IF_ERROR(
      core_.Ask(CommandWord(command->kind), command->Line(), std::chrono::steady_clock::now())
          .status());
  for (;;) {
    ASSIGN_OR_RETURN(auto results, Turn());
    if (results.empty()) continue;
    const ReliableClient::Result& result = results.front();
    if (result.status == AnswerStatus::kDone) return result.body;
    const std::string why = fmt::format("{}: {}", command->Line(), EscapeBytes(result.body));
    if (!result.status) {
      return Error(absl::StatusCode::kDeadlineExceeded,
                   fmt::format("{} (is zmq-server --reliable {} running?)", why,
                               broker_address_.ToString()));
    }
    if (result.status == AnswerStatus::kWrong) return InvalidArgument(why);
    return Unavailable(why);
  }
}

}  // namespace ds::compute::zmq
