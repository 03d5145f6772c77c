#include "getfile/front/front.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "getfile/front/delayed_source.h"

namespace ds::getfile {
namespace {

/// Descriptors that are neither connections nor the program's: listeners, epoll sets, logs,
/// metrics.
constexpr std::size_t kDescriptorsReserved = 96;

}  // namespace

absl::StatusOr<std::unique_ptr<Front>> Front::Start(const FrontOptions& options,
                                                    const Program& program) {
  std::unique_ptr<Front> front(new Front(options, program.metrics_prefix));
  std::shared_ptr<AccessLogFile> log_file;
  if (!options.access_log.empty()) {
    auto opened = AccessLogFile::Open(options.access_log);
    if (!opened.ok()) return InvalidArgument(Message(opened.status()));
    log_file = std::move(opened).value();
  }
  ASSIGN_OR_RETURN(front->listeners_, program.bind());
  RETURN_IF_ERROR(front->StartWorkers(program, log_file));
  front->registration_ = program.metrics->Register(
      [raw = front.get()](daemon::MetricsPage& page) { raw->Collect(page); });
  return front;
}

Front::Front(FrontOptions options, std::string metrics_prefix)
    : options_(std::move(options)), metrics_prefix_(std::move(metrics_prefix)) {}

Front::~Front() {
  registration_ = {};
  for (const auto& worker : workers_) worker->Stop();
}

void Front::LimitConnections(std::size_t descriptors_reserved) {
  const std::size_t descriptors = net::RaiseDescriptorLimit();
  limit_.refused_max = std::min(limit_.refused_max, descriptors / 8);
  const std::size_t reserved = kDescriptorsReserved + descriptors_reserved + limit_.refused_max +
                               std::size_t{2} * WorkerCount(options_);
  const std::size_t possible = descriptors > reserved ? descriptors - reserved : 1;
  limit_.connections_max = std::min(options_.connections_max, possible);
  if (limit_.connections_max < options_.connections_max) {
    spdlog::info("at most {} connections instead of {}: the limit of open files is {}",
                 limit_.connections_max, options_.connections_max, descriptors);
  }
}

absl::Status Front::StartWorkers(const Program& program,
                                 const std::shared_ptr<AccessLogFile>& log_file) {
  LimitConnections(program.descriptors_reserved);
  const unsigned count = WorkerCount(options_);
  const Worker::Options worker_options{
      .connection = {.dialect = options_.dialect,
                     .header_timeout = FromSeconds(options_.header_timeout_s),
                     .progress_timeout = FromSeconds(options_.timeout_s)},
      .send_buffer_bytes = options_.send_buffer_total / count};
  const MakeSource make_source =
      [&](net::EventLoop* loop) -> absl::StatusOr<std::unique_ptr<ContentSource>> {
    ASSIGN_OR_RETURN(auto source, program.make_source(loop));
    if (options_.delay_us == 0) return source;
    return std::make_unique<DelayedSource>(loop, std::move(source),
                                           std::chrono::microseconds(options_.delay_us));
  };
  for (unsigned i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(auto worker,
                     Worker::Create(worker_options, &listeners_, &limit_, make_source, log_file));
    workers_.push_back(std::move(worker));
  }
  for (unsigned i = 0; i < count; ++i) workers_[i]->Start(fmt::format("worker-{}", i));
  return absl::OkStatus();
}

std::vector<net::Endpoint> Front::listen() const {
  std::vector<net::Endpoint> endpoints;
  for (const auto& listener : listeners_) endpoints.push_back(listener.local);
  return endpoints;
}

void Front::Drain(TimePoint deadline) {
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t listening = workers_.size();
  std::size_t busy = workers_.size();
  const auto count_down = [&](std::size_t* count) {
    const std::lock_guard lock(mutex);
    --*count;
    changed.notify_one();
  };
  for (const auto& worker : workers_) {
    worker->Post([&, deadline, raw = worker.get()] {
      raw->BeginShutdown(
          deadline, [&] { count_down(&listening); }, [&] { count_down(&busy); });
    });
  }
  {
    std::unique_lock lock(mutex);
    changed.wait_until(lock, deadline, [&] { return listening == 0; });
    // Closed at once: whoever comes now is refused, not left waiting until the end.
    if (listening == 0) listeners_.clear();
    changed.wait_until(lock, deadline, [&] { return busy == 0; });
  }
  // After this nobody refers to the variables above any more.
  for (const auto& worker : workers_) worker->Stop();
  const std::size_t left = limit_.connections.load();
  if (left > 0) spdlog::warn("{} connections cut off by the end of the drain timeout", left);
}

void Front::ReopenAccessLog() {
  if (options_.access_log.empty()) return;
  auto file = AccessLogFile::Open(options_.access_log);
  if (!file.ok()) {
    spdlog::error("reload: the old access log stays: {}", Message(file.status()));
    return;
  }
  for (const auto& worker : workers_) {
    worker->Post([raw = worker.get(), fresh = *file] { raw->access_log().SetFile(fresh); });
  }
}

void Front::Collect(daemon::MetricsPage& page) const {
  const auto name = [&](const char* rest) { return metrics_prefix_ + rest; };
  const auto sum = [&](auto&& of_worker) {
    std::uint64_t total = 0;
    for (const auto& worker : workers_) total += of_worker(worker->counters());
    return static_cast<double>(total);
  };
  const auto counter = [&](Counter WorkerCounters::*member) {
    return sum([member](const WorkerCounters& counters) { return (counters.*member).Get(); });
  };
  for (const auto& [protocol, protocol_name] :
       {std::pair(Protocol::kGetfile, "getfile"), std::pair(Protocol::kHttp, "http")}) {
    for (const AnswerStatus status : {AnswerStatus::kOk, AnswerStatus::kFileNotFound,
                                      AnswerStatus::kError, AnswerStatus::kInvalid}) {
      page.Count(
          name("requests_total"),
          "Answered requests by protocol and status (HTTP codes by the nearest status).",
          sum([row = static_cast<std::size_t>(protocol), column = static_cast<std::size_t>(status)](
                  const WorkerCounters& counters) { return counters.answers[row][column].Get(); }),
          {{"protocol", protocol_name}, {"status", Name(status)}});
    }
  }
  page.Count(name("answers_broken_total"), "Answers that were not sent to their end.",
             counter(&WorkerCounters::answers_broken));
  page.Count(name("body_bytes_total"), "Body bytes given to the kernel.",
             counter(&WorkerCounters::body_bytes));
  page.Count(name("connections_accepted_total"), "Accepted connections.",
             counter(&WorkerCounters::accepted));
  page.Count(name("connections_refused_total"),
             "Connections beyond --max-connections, answered ERROR or closed.",
             counter(&WorkerCounters::refused) + counter(&WorkerCounters::dropped));
  page.Count(name("accept_errors_total"), "Failed accepts (no descriptors, no memory).",
             counter(&WorkerCounters::accept_errors));
  page.Count(name("timeouts_total"), "Connections ended by a time limit.",
             counter(&WorkerCounters::header_timeouts), {{"limit", "header"}});
  page.Count(name("timeouts_total"), "", counter(&WorkerCounters::progress_timeouts),
             {{"limit", "progress"}});
  page.Count(name("sources_broken_total"), "Bodies that ended or failed while being sent.",
             counter(&WorkerCounters::sources_broken));
  page.Gauge(name("connections_open"), "Open connections.",
             sum([](const WorkerCounters& counters) { return counters.connections.load(); }));
  page.Gauge(name("send_buffer_bytes"), "Bytes known to wait in the kernel's send buffers.",
             sum([](const WorkerCounters& counters) { return counters.send_buffer_bytes.load(); }));
  std::vector<const LogHistogram*> answer_ns;
  std::uint64_t lines_lost = 0;
  for (const auto& worker : workers_) {
    answer_ns.push_back(&worker->counters().answer_ns);
    lines_lost += worker->log_lines_lost();
  }
  page.Histogram(name("answer_seconds"),
                 "From the end of a request's header to the last byte given to the kernel.",
                 answer_ns, 1e9);
  page.Count(name("access_log_lines_lost_total"), "Access log lines that the disk refused.",
             static_cast<double>(lines_lost));
}

}  // namespace ds::getfile
