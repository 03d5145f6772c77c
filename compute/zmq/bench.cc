#include "compute/zmq/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/load/cpu_time.h"
#include "common/net/socket.h"
#include "compute/core/command.h"
#include "compute/zmq/reliable_session.h"
#include "compute/zmq/socket.h"

namespace ds::compute::zmq {
namespace {

/// How long a load waits for a broker, and for its last answers.
constexpr Duration kPatience = std::chrono::seconds(5);
/// The first number to be asked about; each request has one of its own, so that answers can be told
/// apart. Small: the arithmetic is not what is measured.
constexpr std::uint64_t kFirstNumber = 1'000'003;

/// The time of a load, and its report.
class Measurement {
 public:
  explicit Measurement(double seconds)
      : begin_(std::chrono::steady_clock::now()),
        end_(begin_ + FromSeconds(seconds)),
        cpu_begin_(load::CpuSeconds()) {}

  TimePoint end() const { return end_; }

  load::LoadReport Report(std::string protocol, std::uint64_t connections, unsigned threads,
                          load::LoadTally tally) const {
    load::LoadReport report;
    report.protocol = std::move(protocol);
    report.connections = connections;
    report.threads = threads;
    report.cores = std::max(1U, std::thread::hardware_concurrency());
    report.seconds = ToSeconds(std::chrono::steady_clock::now() - begin_);
    report.tally = std::move(tally);
    report.client_cpu_fraction = (load::CpuSeconds() - cpu_begin_) / (report.seconds * threads);
    return report;
  }

 private:
  TimePoint begin_, end_;
  double cpu_begin_;
};

std::uint64_t Nanoseconds(Duration duration) {
  return static_cast<std::uint64_t>(duration / std::chrono::nanoseconds(1));
}

absl::Status WaitConnected(Socket& socket, const net::HostPort& address, int interrupt_fd) {
  const TimePoint until = std::chrono::steady_clock::now() + kPatience;
  while (!socket.connections().standing) {
    std::array<PollItem, 2> items;
    items[0].fd = interrupt_fd;
    items[1].watched = &socket;
    RETURN_IF_ERROR(Poll(items, until));
    if (items[0].ready) return Error(absl::StatusCode::kCancelled, "interrupted");
    if (std::chrono::steady_clock::now() >= until) {
      return Error(absl::StatusCode::kDeadlineExceeded,
                   fmt::format("connect to {}: no ZeroMQ broker there", address.ToString()));
    }
  }
  return absl::OkStatus();
}

struct Asking {
  std::size_t client;
  TimePoint begin;
};

/// A REQ socket and what it still waits for.
struct AskingClient {
  Socket socket;
  bool confirmed = true;
  bool answered = true;
};

}  // namespace

absl::StatusOr<load::LoadReport> RunClassicLoad(const BenchOptions& options, int interrupt_fd) {
  ASSIGN_OR_RETURN(const net::HostPort in, ParseAddress(options.client_in));
  ASSIGN_OR_RETURN(const net::HostPort out, ParseAddress(options.client_out));
  ZmqContext context(static_cast<int>(options.clients) * 2 + 16);
  Socket::Options socket_options;
  socket_options.linger = Duration::zero();
  socket_options.queue_max = 100'000;  // nothing is lost to a queue
  ASSIGN_OR_RETURN(Socket publications,
                   Socket::Create(&context, Socket::Type::kSub, socket_options));
  RETURN_IF_ERROR(publications.Watch());
  RETURN_IF_ERROR(publications.Subscribe(""));
  RETURN_IF_ERROR(publications.Connect(out));
  RETURN_IF_ERROR(WaitConnected(publications, out, interrupt_fd));
  std::vector<AskingClient> clients;
  for (unsigned i = 0; i < options.clients; ++i) {
    ASSIGN_OR_RETURN(Socket socket, Socket::Create(&context, Socket::Type::kReq, socket_options));
    RETURN_IF_ERROR(socket.Connect(in));
    clients.push_back({std::move(socket)});
  }

  std::unordered_map<std::uint64_t, Asking> open;
  std::uint64_t next_number = kFirstNumber;
  load::LoadTally tally;
  const Measurement measurement(options.seconds);
  const auto ask = [&](std::size_t i) {
    if (std::chrono::steady_clock::now() >= measurement.end()) return;
    const std::uint64_t number = next_number++;
    clients[i].confirmed = clients[i].answered = false;
    open.emplace(number, Asking{i, std::chrono::steady_clock::now()});
    clients[i].socket.Send(fmt::format("isprime {}", number));
  };
  const auto take_answer = [&](const std::string& text) {
    const auto about = ParseAnswer(text);
    const bool error = !about && text.starts_with("error: ");
    if (error) tally.AddError("error", text);
    if (!about) return;
    const auto found = open.find(about->a.magnitude);
    if (found == open.end()) return;
    tally.latency.Record(Nanoseconds(std::chrono::steady_clock::now() - found->second.begin));
    tally.bytes += text.size();
    AskingClient& client = clients[found->second.client];
    client.answered = true;
    const std::size_t i = found->second.client;
    open.erase(found);
    if (client.confirmed) ask(i);
  };
  for (std::size_t i = 0; i < clients.size(); ++i) ask(i);
  std::vector<PollItem> items(clients.size() + 2);
  items[0].fd = interrupt_fd;
  items[1].socket = &publications;
  for (std::size_t i = 0; i < clients.size(); ++i) items[i + 2].socket = &clients[i].socket;
  const TimePoint give_up = measurement.end() + kPatience;
  while (!open.empty() && std::chrono::steady_clock::now() < give_up) {
    RETURN_IF_ERROR(Poll(items, give_up));
    if (items[0].ready) return Error(absl::StatusCode::kCancelled, "interrupted");
    for (std::size_t i = 0; i < clients.size(); ++i) {
      if (!items[i + 2].ready || !clients[i].socket.Receive()) continue;
      clients[i].confirmed = true;
      if (clients[i].answered) ask(i);
    }
    while (const auto frames = publications.Receive()) take_answer(frames->front());
  }
  for (std::size_t i = 0; i < open.size(); ++i) tally.AddError("no answer", "none in time");
  return measurement.Report("classic", clients.size(), 1, std::move(tally));
}

absl::StatusOr<load::LoadReport> RunReliableLoad(const BenchOptions& options, int interrupt_fd) {
  ASSIGN_OR_RETURN(net::HostPort broker, ParseAddress(options.reliable));
  ZmqContext context;
  ReliableSession session(&context, std::move(broker), ReliableClient::Options(), interrupt_fd);
  std::unordered_map<std::uint64_t, TimePoint> open;
  std::uint64_t next_number = kFirstNumber;
  load::LoadTally tally;
  const Measurement measurement(options.seconds);
  const auto ask = [&]() -> absl::Status {
    const TimePoint now = std::chrono::steady_clock::now();
    if (now >= measurement.end()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::uint64_t number,
                     session.core().Ask("isprime", fmt::format("isprime {}", next_number++), now));
    open.emplace(number, now);
    return absl::OkStatus();
  };
  for (std::size_t i = 0; i < options.window; ++i) RETURN_IF_ERROR(ask());
  while (!open.empty()) {  // ends: each request has a result within the client's time
    ASSIGN_OR_RETURN(const auto results, session.Turn());
    for (const ReliableClient::Result& result : results) {
      const auto found = open.find(result.number);
      if (result.status == AnswerStatus::kDone) {
        tally.latency.Record(Nanoseconds(std::chrono::steady_clock::now() - found->second));
        tally.bytes += result.body.size();
      } else {
        tally.AddError("no answer", result.body);
      }
      open.erase(found);
      RETURN_IF_ERROR(ask());
    }
  }
  return measurement.Report("reliable", 1, 1, std::move(tally));
}

absl::StatusOr<load::LoadReport> RunThroughput(const BenchOptions& options, int interrupt_fd) {
  ZmqContext receiving;
  ASSIGN_OR_RETURN(auto listeners, net::ListenLoopback(0));
  const net::Endpoint local = listeners.front().local;
  ASSIGN_OR_RETURN(Socket pull, Socket::Create(&receiving, Socket::Type::kPull, {}));
  RETURN_IF_ERROR(pull.Bind(std::move(listeners.front())));

  std::atomic<bool> stop{false};
  absl::Status sent;
  std::jthread sender([&] {
    ZmqContext sending;
    Socket::Options socket_options;
    socket_options.linger = Duration::zero();
    auto push = Socket::Create(&sending, Socket::Type::kPush, socket_options);
    sent = push.ok() ? push->Connect({local.Host(), local.port()}) : push.status();
    const std::string message(options.message_bytes, 'x');
    while (sent.ok() && !stop.load(std::memory_order_relaxed)) {
      if (push->Send(message) == Socket::Sent::kYes) continue;
      std::array<PollItem, 1> items;
      items[0].sender = &*push;
      sent = Poll(items, std::chrono::steady_clock::now() + std::chrono::milliseconds(100));
    }
  });

  load::LoadTally tally;
  const Measurement measurement(options.seconds);
  absl::Status received;
  while (received.ok() && std::chrono::steady_clock::now() < measurement.end()) {
    std::array<PollItem, 2> items;
    items[0].fd = interrupt_fd;
    items[1].socket = &pull;
    received = Poll(items, measurement.end());
    if (items[0].ready) received = Error(absl::StatusCode::kCancelled, "interrupted");
    for (int i = 0; i < 10'000; ++i) {
      const auto frames = pull.Receive();
      if (!frames) break;
      tally.latency.Record(0);
      tally.bytes += frames->front().size();
    }
  }
  auto report = measurement.Report("push-pull", 1, 2, std::move(tally));
  stop = true;
  sender.join();
  RETURN_IF_ERROR(received);
  RETURN_IF_ERROR(sent);
  return report;
}

}  // namespace ds::compute::zmq
