#include "compute/zmq/worker.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "common/base/check.h"

namespace ds::compute::zmq {
namespace {

/// Requests that are taken from the socket before anything else is looked at.
constexpr int kBatch = 256;
/// A broker can have no more requests open (--max-open), so no answer to one is lost for a full
/// queue.
constexpr int kAnswersMax = 1'000'000;
/// At the end of a worker: what the kernel has received is read within this time of the last one.
constexpr Duration kQuietTime = std::chrono::milliseconds(100);

}  // namespace

Worker::Worker(WorkerOptions options)
    : options_(std::move(options)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      failed_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(wake_ && failed_, "eventfd");
}

absl::StatusOr<daemon::Started> Worker::Start(const WorkerOptions& options,
                                              const std::stop_token& stop,
                                              daemon::Metrics* metrics) {
  RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<Worker> worker(new Worker(options));
  RETURN_IF_ERROR(worker->Connect());
  Worker* const self = worker.get();
  worker->registration_ =
      metrics->Register([self](daemon::MetricsPage& page) { self->Collect(page); });
  worker->thread_ = std::jthread([self] { self->Serve(); });
  {
    std::unique_lock lock(worker->mutex_);
    const bool told =
        worker->changed_.wait_for(lock, stop, FromSeconds(options.start_timeout_s),
                                  [self] { return self->ready_ || !self->failure_.ok(); });
    if (!worker->failure_.ok()) return worker->failure_;
    if (!told && stop.stop_requested()) {
      return Error(absl::StatusCode::kCancelled, "told to end");
    }
    if (!told) {
      const std::string where =
          options.reliable.empty() ? options.worker_in + " " + options.worker_out
          : options.worker_in.empty()
              ? options.reliable
              : options.worker_in + " " + options.worker_out + " " + options.reliable;
      return Error(absl::StatusCode::kDeadlineExceeded,
                   fmt::format("connect to the broker at {}: not there within {} s (is zmq-server "
                               "running? see --start-timeout)",
                               where, options.start_timeout_s));
    }
  }
  daemon::Started started;
  started.service = std::move(worker);
  return started;
}

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  const std::uint64_t one = 1;
  CHECK(::write(wake_.get(), &one, sizeof one) == sizeof one);
  if (thread_.joinable()) thread_.join();
}

void Worker::Drain(TimePoint deadline) {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    deadline_ = deadline;
  }
  const std::uint64_t one = 1;
  CHECK(::write(wake_.get(), &one, sizeof one) == sizeof one);
  if (thread_.joinable()) thread_.join();
}

absl::Status Worker::OpenClassic() {
  ASSIGN_OR_RETURN(const net::HostPort in, ParseAddress(options_.worker_in));
  ASSIGN_OR_RETURN(Socket requests, Socket::Create(&context_, Socket::Type::kSub, {}));
  // PUB on the wire; it tells when the broker begins to read.
  ASSIGN_OR_RETURN(Socket answers,
                   Socket::Create(&context_, Socket::Type::kXpub, {.queue_max = kAnswersMax}));
  RETURN_IF_ERROR(requests.Watch());
  RETURN_IF_ERROR(requests.Subscribe(CommandWord(options_.kind)));
  RETURN_IF_ERROR(requests.Connect(in));
  requests_.emplace(std::move(requests));
  answers_.emplace(std::move(answers));
  return absl::OkStatus();
}

absl::Status Worker::OpenReliable() {
  Socket::Options options;
  options.linger = std::chrono::milliseconds(100);
  ASSIGN_OR_RETURN(Socket broker, Socket::Create(&context_, Socket::Type::kDealer, options));
  RETURN_IF_ERROR(broker.Connect(reliable_address_));
  broker_.reset();
  broker_.emplace(std::move(broker));
  return absl::OkStatus();
}

absl::Status Worker::Connect() {
  if (!options_.worker_in.empty()) RETURN_IF_ERROR(OpenClassic());
  if (!options_.reliable.empty()) {
    ASSIGN_OR_RETURN(reliable_address_, ParseAddress(options_.reliable));
    RETURN_IF_ERROR(OpenReliable());
    reliable_.emplace(
        ReliableWorker::Options{.service = std::string(CommandWord(options_.kind)),
                                .capacity = static_cast<std::uint8_t>(options_.capacity)},
        std::chrono::steady_clock::now());
  }
  return absl::OkStatus();
}

void Worker::Serve() {
  absl::Status status;
  TimePoint deadline{};
  for (bool stopping = false; !stopping && status.ok();) {
    status = Turn();
    const std::lock_guard lock(mutex_);
    stopping = stopping_;
    deadline = deadline_;
    shown_ = counts_;
    ready_ = (!requests_ || (connected_ && heard_)) && (!reliable_ || reliable_->registered());
    if (ready_) changed_.notify_all();
  }
  if (!status.ok()) {
    spdlog::error("{}", Message(status));
    const std::lock_guard lock(mutex_);
    failure_ = status;
    changed_.notify_all();
    const std::uint64_t one = 1;
    CHECK(::write(failed_.get(), &one, sizeof one) == sizeof one);
    return;
  }
  if (reliable_) {
    reliable_->Stop();
    ServeReliable();
  }
  if (requests_ && heard_) FinishClassic(deadline);
}

/// What waits between the broker and here cannot go to another worker. Ends when nothing more
/// comes.
void Worker::FinishClassic(TimePoint deadline) {
  for (;;) {
    const TimePoint now = std::chrono::steady_clock::now();
    if (now >= deadline) return;
    if (AnswerClassic()) continue;
    std::array<PollItem, 1> items;
    items[0].socket = &*requests_;
    if (!Poll(items, std::min(deadline, now + kQuietTime)).ok() || !items[0].ready) return;
  }
}

absl::Status Worker::Turn() {
  std::array<PollItem, 5> items;
  items[0].fd = wake_.get();
  std::size_t count = 1;
  if (requests_) {
    items[count++].socket = &*answers_;
    if (!connected_) items[count++].watched = &*requests_;
    // While nobody reads the answers, the requests wait.
    if (heard_) items[count++].socket = &*requests_;
  }
  if (broker_) items[count++].socket = &*broker_;
  const auto until = reliable_ ? reliable_->NextDeadline() : std::nullopt;
  RETURN_IF_ERROR(Poll(std::span(items).first(count), until));
  if (requests_) RETURN_IF_ERROR(ServeClassic());
  if (!reliable_) return absl::OkStatus();
  const TimePoint now = std::chrono::steady_clock::now();
  for (int i = 0; i < kBatch; ++i) {
    const auto frames = broker_->Receive();
    if (!frames) break;
    reliable_->HandleFrames(*frames, now);
  }
  reliable_->HandleTimeout(now);
  ServeReliable();
  if (reliable_->other_version()) {
    return Unavailable(
        fmt::format("connect to the broker at {}: it speaks another version of the "
                    "reliable service",
                    options_.reliable));
  }
  return absl::OkStatus();
}

absl::Status Worker::ServeClassic() {
  for (int i = 0; i < kBatch; ++i) {
    const auto frames = answers_->Receive();
    if (!frames) break;
    // The broker subscribes to everything, whichever prefix it may call that.
    if (!frames->front().empty()) heard_ = frames->front().front() == '\1';
  }
  if (!connected_ && requests_->connections().standing) {
    // One after the other: the broker's subscription to the answers then tells that ours to the
    // requests has arrived, too.
    connected_ = true;
    ASSIGN_OR_RETURN(const net::HostPort out, ParseAddress(options_.worker_out));
    RETURN_IF_ERROR(answers_->Connect(out));
  }
  if (heard_) AnswerClassic();
  return absl::OkStatus();
}

/// False: there are no requests any more.
bool Worker::AnswerClassic() {
  for (int i = 0; i < kBatch; ++i) {
    const auto frames = requests_->Receive();
    if (!frames) return false;
    const std::string& line = frames->front();
    if (frames->size() != 1 || !IsCommandLine(line)) {
      ++counts_.ignored;
      continue;
    }
    const auto command = ParseCommand(line);
    if (!command.ok()) {
      ++counts_.wrong;
      answers_->Send(ErrorAnswer(line, Message(command.status())));
    } else if (command->kind == options_.kind) {
      ++counts_.classic;
      answers_->Send(command->Answer());
    } else {
      ++counts_.ignored;
    }
  }
  return true;
}

void Worker::ServeReliable() {
  for (auto output = reliable_->TakeOutput(); !output.empty(); output = reliable_->TakeOutput()) {
    if (output.reconnect) {
      if (const auto opened = OpenReliable(); !opened.ok()) spdlog::warn("{}", Message(opened));
    }
    for (const ReliableMessage& message : output.to_broker) {
      // A full queue is a broker that is away: it will be silent, and that is noticed.
      broker_->Send(EncodeReliable(message));
    }
    for (WorkMessage& work : output.work) {
      const bool mine = IsCommandLine(work.body);
      const auto command = mine ? ParseCommand(work.body) : InvalidArgument("it is no command");
      if (command.ok() && command->kind == options_.kind) {
        ++counts_.reliable;
        reliable_->Finish({work.tag, AnswerStatus::kDone, command->Answer()});
      } else {
        ++counts_.wrong;
        const std::string why =
            command.ok() ? "it is of another service" : Message(command.status());
        reliable_->Finish({work.tag, AnswerStatus::kWrong, ErrorAnswer(work.body, why)});
      }
    }
  }
}

void Worker::Collect(daemon::MetricsPage& page) {
  Counts counts;
  {
    const std::lock_guard lock(mutex_);
    counts = shown_;
  }
  const auto count = [&](const char* service, std::uint64_t value) {
    page.Count("zmq_worker_requests_total", "Requests computed.", static_cast<double>(value),
               {{"service", service}});
  };
  count("classic", counts.classic);
  count("reliable", counts.reliable);
  page.Count("zmq_worker_wrong_total", "Requests with wrong operands.",
             static_cast<double>(counts.wrong));
  page.Count("zmq_worker_ignored_total", "Messages that are no request for this worker.",
             static_cast<double>(counts.ignored));
}

int RunWorker(Command::Kind kind, const char* program, const char* summary, int argc, char** argv) {
  daemon::Daemon daemon({.name = program, .summary = summary});
  WorkerOptions options;
  options.kind = kind;
  auto& flags = daemon.flags();
  flags.add_option("WORKER_IN", options.worker_in,
                   "PORT (of 127.0.0.1) or HOST:PORT where the broker publishes requests");
  flags.add_option("WORKER_OUT", options.worker_out, "The same where it takes answers");
  flags.add_option("--reliable", options.reliable,
                   "HOST:PORT, or PORT, of the broker's reliable service (default: none)");
  flags
      .add_option("--capacity", options.capacity,
                  "Requests that the reliable service may give to this worker at a time")
      ->check(daemon::Count(1, kWorkerCapacityMax))
      ->capture_default_str();
  flags
      .add_option("--start-timeout", options.start_timeout_s,
                  "Seconds to wait for the broker at the start")
      ->check(daemon::Seconds(0.001, 86400))
      ->capture_default_str();
  if (const auto code = daemon.Parse(argc, argv)) return *code;
  if (const auto valid = options.Validate(); !valid.ok()) return daemon::FailWith(program, valid);
  return daemon.Run([&](const std::stop_token& stop, daemon::Metrics& metrics) {
    return Worker::Start(options, stop, &metrics);
  });
}

}  // namespace ds::compute::zmq
