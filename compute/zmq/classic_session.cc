#include "compute/zmq/classic_session.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "compute/core/command.h"

namespace ds::compute::zmq {
namespace {

/// Frames of a publication as one text: there should be one only.
std::string Joined(const Frames& frames) {
  std::string text = frames.front();
  for (std::size_t i = 1; i < frames.size(); ++i) text += " " + frames[i];
  return text;
}

absl::Status Interrupted() { return Error(absl::StatusCode::kCancelled, "interrupted"); }

}  // namespace

ClassicSession::ClassicSession(ZmqContext* context, Options options, Socket publications)
    : context_(context), options_(std::move(options)), publications_(std::move(publications)) {}

absl::StatusOr<ClassicSession> ClassicSession::Open(ZmqContext* context, const Options& options) {
  ASSIGN_OR_RETURN(Socket publications, Socket::Create(context, Socket::Type::kSub, {}));
  RETURN_IF_ERROR(publications.Watch());
  RETURN_IF_ERROR(publications.Subscribe(""));
  RETURN_IF_ERROR(publications.Connect(options.client_out));
  ClassicSession session(context, options, std::move(publications));
  RETURN_IF_ERROR(session.Connect(std::chrono::steady_clock::now() + options.timeout));
  return session;
}

absl::Status ClassicSession::Connect(TimePoint until) {
  if (const auto now = publications_.connections();
      requests_ && now.standing && now.made == subscribed_) {
    return absl::OkStatus();
  }
  requests_.reset();
  RETURN_IF_ERROR(WaitConnected(publications_, options_.client_out, until));
  subscribed_ = publications_.connections().made;
  Socket::Options socket_options;
  socket_options.linger = Duration::zero();
  ASSIGN_OR_RETURN(Socket requests, Socket::Create(context_, Socket::Type::kReq, socket_options));
  RETURN_IF_ERROR(requests.Watch());
  RETURN_IF_ERROR(requests.Connect(options_.client_in));
  RETURN_IF_ERROR(WaitConnected(requests, options_.client_in, until));
  requests_.emplace(std::move(requests));
  return absl::OkStatus();
}

absl::Status ClassicSession::WaitConnected(Socket& socket, const net::HostPort& address,
                                           TimePoint until) {
  while (!socket.connections().standing) {
    if (std::chrono::steady_clock::now() >= until) {
      return Error(absl::StatusCode::kDeadlineExceeded,
                   fmt::format("connect to {}: no ZeroMQ broker there within {} s (is zmq-server "
                               "running?)",
                               address.ToString(), ToSeconds(options_.timeout)));
    }
    std::array<PollItem, 2> items;
    items[0].fd = options_.interrupt_fd;
    items[1].watched = &socket;
    RETURN_IF_ERROR(Poll(items, until));
    if (items[0].ready) return Interrupted();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Frames>> ClassicSession::Receive(Socket& socket, TimePoint until) {
  for (;;) {
    if (auto frames = socket.Receive()) return frames;
    if (std::chrono::steady_clock::now() >= until) return std::nullopt;
    std::array<PollItem, 2> items;
    items[0].fd = options_.interrupt_fd;
    items[1].socket = &socket;
    RETURN_IF_ERROR(Poll(items, until));
    if (items[0].ready) return Interrupted();
  }
}

absl::StatusOr<std::string> ClassicSession::Ask(const std::string& line, const Print& print) {
  ReadArrived(print);  // earlier answers are not those to this line
  const TimePoint until = std::chrono::steady_clock::now() + options_.timeout;
  const auto too_late = [&](std::string_view what) {
    return Error(absl::StatusCode::kDeadlineExceeded,
                 fmt::format("{}: no {} within {} s", line, what, ToSeconds(options_.timeout)));
  };
  RETURN_IF_ERROR(Connect(until));
  requests_->Send(line);
  ASSIGN_OR_RETURN(const auto reply, Receive(*requests_, until));
  if (!reply) {
    requests_.reset();  // a REQ socket that got no reply takes no further line
    return too_late("confirmation");
  }
  if (reply->front().starts_with("error: ")) return InvalidArgument(reply->front().substr(7));
  for (;;) {
    ASSIGN_OR_RETURN(const auto frames, Receive(publications_, until));
    if (!frames) return too_late("answer");
    std::string text = Joined(*frames);
    print(text);
    if (IsAnswerTo(line, text)) return text;
  }
}

void ClassicSession::ReadArrived(const Print& print) {
  while (const auto frames = publications_.Receive()) print(Joined(*frames));
}

}  // namespace ds::compute::zmq
