#include "compute/zmq/server.h"

#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/net/socket.h"

namespace ds::compute::zmq {
namespace {

/// Messages that are taken from one socket before the others have their turn.
constexpr int kBatch = 256;
/// The same for subscriptions: far more than honest peers have, and a bound all the same.
constexpr int kSubscriptionBatch = 4096;

void Wake(const UniqueFd& event) {
  const std::uint64_t one = 1;
  CHECK(::write(event.get(), &one, sizeof one) == sizeof one);
}

std::uint64_t RandomTag() {
  std::uint64_t tag = 0;
  CHECK(::getrandom(&tag, sizeof tag, 0) == sizeof tag);
  return tag >> 1U;
}

/// The endpoints at which `socket` listens now.
absl::StatusOr<std::vector<net::Endpoint>> BindAll(Socket& socket, const BindAddress& address) {
  std::vector<net::Listener> listeners;
  if (address.endpoints.empty()) {
    ASSIGN_OR_RETURN(listeners, net::ListenLoopback(address.port));
    if (listeners.size() == 1) {
      spdlog::warn("no IPv6 on this machine: listening on 127.0.0.1 only");
    }
  }
  for (const net::Endpoint& endpoint : address.endpoints) {
    ASSIGN_OR_RETURN(net::Listener listener, net::ListenTcp(endpoint));
    listeners.push_back(std::move(listener));
  }
  std::vector<net::Endpoint> bound;
  for (net::Listener& listener : listeners) {
    bound.push_back(listener.local);
    RETURN_IF_ERROR(socket.Bind(std::move(listener)));
  }
  return bound;
}

}  // namespace

struct Server::Sockets {
  Socket client_in, client_out, worker_in, worker_out;
  std::optional<Socket> reliable;
};

Server::Server(const ServerOptions& options)
    : classic_({.answer_time = FromSeconds(options.answer_timeout_s),
                .echo_commands = options.echo_commands,
                .open_max = options.open_max}),
      reliable_({.open_max = options.open_max, .first_tag = RandomTag()}),
      has_reliable_(options.reliable.has_value()),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      failed_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(wake_ && failed_, "eventfd");
}

absl::StatusOr<daemon::Started> Server::Start(const ServerOptions& options,
                                              daemon::Metrics* metrics) {
  net::RaiseDescriptorLimit();  // a classic client has two connections
  std::unique_ptr<Server> server(new Server(options));
  Socket::Options common;
  common.message_bytes_max = static_cast<std::int64_t>(options.message_bytes_max);
  daemon::Started started;
  // No request that is accepted is lost on its way to a worker, nor its answer on the way back.
  Socket::Options of_workers = common;
  of_workers.queue_max = std::max(common.queue_max, static_cast<int>(options.open_max));
  const auto open = [&](Socket::Type type, const BindAddress& address, const char* key,
                        const Socket::Options& socket_options) -> absl::StatusOr<Socket> {
    ASSIGN_OR_RETURN(Socket socket, Socket::Create(&server->context_, type, socket_options));
    ASSIGN_OR_RETURN(const auto bound, BindAll(socket, address));
    started.listen.insert(started.listen.end(), bound.begin(), bound.end());
    started.keys.emplace_back(key, bound.front().ToString());
    return socket;
  };
  ASSIGN_OR_RETURN(Socket client_in,
                   open(Socket::Type::kRep, options.client_in, "client_in", common));
  // XPUB is PUB on the wire, and tells who subscribes to what.
  ASSIGN_OR_RETURN(Socket client_out,
                   open(Socket::Type::kXpub, options.client_out, "client_out", common));
  ASSIGN_OR_RETURN(Socket worker_in,
                   open(Socket::Type::kXpub, options.worker_in, "worker_in", of_workers));
  ASSIGN_OR_RETURN(Socket worker_out,
                   open(Socket::Type::kSub, options.worker_out, "worker_out", of_workers));
  RETURN_IF_ERROR(worker_out.Subscribe(""));
  server->sockets_ = std::make_unique<Sockets>(Sockets{std::move(client_in),
                                                       std::move(client_out),
                                                       std::move(worker_in),
                                                       std::move(worker_out),
                                                       {}});
  if (options.reliable) {
    common.report_unroutable = true;
    ASSIGN_OR_RETURN(Socket reliable,
                     open(Socket::Type::kRouter, *options.reliable, "reliable", common));
    server->sockets_->reliable.emplace(std::move(reliable));
  }
  Server* const self = server.get();
  server->registration_ =
      metrics->Register([self](daemon::MetricsPage& page) { self->Collect(page); });
  server->thread_ = std::jthread([self] { self->Serve(); });
  started.service = std::move(server);
  return started;
}

Server::~Server() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  Wake(wake_);
  if (thread_.joinable()) thread_.join();
}

void Server::Drain(TimePoint deadline) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  Wake(wake_);
  changed_.wait_until(lock, deadline, [&] { return drained_; });
}

void Server::Serve() {
  bool draining = false;
  for (;;) {
    std::optional<TimePoint> until = classic_.NextDeadline();
    if (const auto next = reliable_.NextDeadline(); next && (!until || *next < *until)) {
      until = next;
    }
    std::array<PollItem, 6> items;
    items[0].fd = wake_.get();
    items[1].socket = &sockets_->client_out;
    items[2].socket = &sockets_->worker_in;
    items[3].socket = &sockets_->worker_out;
    std::size_t count = 4;
    if (sockets_->reliable) items[count++].socket = &*sockets_->reliable;
    if (!draining) items[count++].socket = &sockets_->client_in;
    if (const auto polled = Poll(std::span(items).first(count), until); !polled.ok()) {
      spdlog::error("{}", Message(polled));
      Wake(failed_);
      return;
    }
    const TimePoint now = std::chrono::steady_clock::now();
    if (!draining) ReadRequests(now);
    ReadAnswers(now);
    // After the requests: a peer that has subscribed and then asked is a subscriber by now.
    ReadSubscriptions(now);
    classic_.HandleTimeout(now);
    Publish();
    if (has_reliable_) {
      ReadReliable(now);
      reliable_.HandleTimeout(now);
      SendReliable(now);
    }

    const std::lock_guard lock(mutex_);
    snapshot_ = {classic_.stats(),    reliable_.stats(), classic_.open(), reliable_.open(),
                 reliable_.workers(), multipart_,        unsent_};
    std::uint64_t ignored = 0;
    if (items[0].ready) CHECK(::read(wake_.get(), &ignored, sizeof ignored) == sizeof ignored);
    if (stopping_) return;
    if (draining_ && !draining) {
      draining = true;
      reliable_.StopAccepting();
    }
    if (draining && classic_.open() == 0 && reliable_.open() == 0) {
      drained_ = true;
      changed_.notify_all();
    }
  }
}

void Server::ReadRequests(TimePoint now) {
  for (int i = 0; i < kBatch; ++i) {
    const auto frames = sockets_->client_in.Receive();
    if (!frames) return;
    // REP wants its reply before it gives the next request.
    if (frames->size() == 1) {
      sockets_->client_in.Send(classic_.HandleLine(frames->front(), now));
    } else {
      ++multipart_;
      sockets_->client_in.Send("error: a line is one frame");
    }
  }
}

void Server::ReadAnswers(TimePoint now) {
  for (int i = 0; i < kBatch; ++i) {
    const auto frames = sockets_->worker_out.Receive();
    if (!frames) return;
    if (frames->size() == 1) {
      classic_.HandleAnswer(frames->front(), now);
    } else {
      ++multipart_;
    }
  }
}

void Server::ReadSubscriptions(TimePoint now) {
  // All of them: what Receive() has not told is not in force. There is at most one message for each
  // subscription that began or ended; who begins and ends them all the time makes them late, not
  // endless: what is left keeps its socket readable.
  for (int i = 0; i < kSubscriptionBatch && sockets_->client_out.Receive(); ++i) {
  }
  for (int i = 0; i < kSubscriptionBatch; ++i) {
    const auto frames = sockets_->worker_in.Receive();
    if (!frames) return;
    if (frames->size() == 1) classic_.HandleSubscription(frames->front(), now);
  }
}

void Server::Publish() {
  const ClassicBroker::Output output = classic_.TakeOutput();
  // To publish never fails: who does not read fast enough loses messages.
  for (const std::string& line : output.to_workers) sockets_->worker_in.Send(line);
  for (const std::string& text : output.to_clients) sockets_->client_out.Send(text);
}

void Server::ReadReliable(TimePoint now) {
  for (int i = 0; i < kBatch; ++i) {
    auto frames = sockets_->reliable->Receive();
    if (!frames) return;
    const std::string peer = std::move(frames->front());
    frames->erase(frames->begin());
    reliable_.HandleFrames(peer, *frames, now);
  }
}

void Server::SendReliable(TimePoint now) {
  // A peer that is gone may have had work, which then goes to another one: once more.
  for (auto output = reliable_.TakeOutput(); !output.empty(); output = reliable_.TakeOutput()) {
    for (const Envelope& envelope : output) {
      Frames frames = EncodeReliable(envelope.message);
      frames.insert(frames.begin(), envelope.peer);
      if (sockets_->reliable->Send(frames) == Socket::Sent::kYes) continue;
      ++unsent_;
      reliable_.HandlePeerGone(envelope.peer, now);
    }
  }
}

void Server::Collect(daemon::MetricsPage& page) {
  Snapshot now;
  {
    const std::lock_guard lock(mutex_);
    now = snapshot_;
  }
  const auto count = [&](const char* name, const char* help, std::uint64_t value) {
    page.Count(name, help, static_cast<double>(value));
  };
  count("zmq_classic_lines_total", "Lines of clients.", now.classic.lines);
  count("zmq_classic_refused_total", "Lines that were too long, not UTF-8, or one too many.",
        now.classic.refused);
  count("zmq_classic_wrong_total", "Commands with wrong operands.", now.classic.wrong);
  count("zmq_classic_echoed_total", "Lines that are no commands.", now.classic.echoed);
  count("zmq_classic_requests_total", "Commands given to workers.", now.classic.requests);
  count("zmq_classic_answered_total", "Commands that a worker has answered.", now.classic.answered);
  count("zmq_classic_timed_out_total", "Commands without an answer in time.",
        now.classic.timed_out);
  count("zmq_classic_dropped_answers_total", "Answers: late, duplicate or malformed.",
        now.classic.dropped);
  count("zmq_classic_passed_on_total", "Answers that fit no request.", now.classic.passed_on);
  count("zmq_classic_unremembered_subscriptions_total",
        "Subscriptions of workers, beyond the limit.", now.classic.unremembered);
  count("zmq_classic_multipart_total", "Messages with more than one frame.", now.multipart);
  page.Gauge("zmq_classic_open_requests", "Commands without an answer.",
             static_cast<double>(now.classic_open));
  if (!has_reliable_) return;
  count("zmq_reliable_requests_total", "Requests.", now.reliable.requests);
  count("zmq_reliable_repeated_total", "Requests that were open already.", now.reliable.repeated);
  count("zmq_reliable_remembered_total", "Requests that were answered already.",
        now.reliable.remembered);
  count("zmq_reliable_busy_total", "Requests refused for lack of room.", now.reliable.busy);
  count("zmq_reliable_answered_total", "Requests that a worker has answered.",
        now.reliable.answered);
  count("zmq_reliable_failed_total", "Requests that no worker has answered.", now.reliable.failed);
  count("zmq_reliable_retried_total", "Requests given to another worker.", now.reliable.retried);
  count("zmq_reliable_workers_lost_total", "Workers that died.", now.reliable.workers_lost);
  count("zmq_reliable_workers_refused_total", "Workers beyond the limit.",
        now.reliable.workers_refused);
  count("zmq_reliable_dropped_results_total", "Results that nobody waits for.",
        now.reliable.results_dropped);
  count("zmq_reliable_malformed_total", "Malformed messages.", now.reliable.malformed);
  count("zmq_reliable_other_version_total", "Messages of another version.",
        now.reliable.other_version);
  count("zmq_reliable_unsent_total", "Messages to peers that are gone.", now.unsent);
  page.Gauge("zmq_reliable_open_requests", "Requests without an answer.",
             static_cast<double>(now.reliable_open));
  page.Gauge("zmq_reliable_workers", "Workers.", static_cast<double>(now.reliable_workers));
}

}  // namespace ds::compute::zmq
