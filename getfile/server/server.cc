#include "getfile/server/server.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "getfile/server/delayed_source.h"
#include "getfile/server/file_source.h"

namespace ds::getfile {
namespace {

/// Descriptors that are neither connections nor cached files: listeners, epoll sets, logs, metrics.
constexpr std::size_t kDescriptorsReserved = 96;
constexpr std::size_t kOpenFilesMax = 1024;  // in all workers together

/// Raises the soft limit of open files to the hard one, and returns it.
std::size_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

}  // namespace

absl::StatusOr<daemon::Started> Server::Start(
    const ServerOptions& options,
    const std::function<absl::StatusOr<std::vector<net::Listener>>()>& bind,
    daemon::Metrics* metrics) {
  std::unique_ptr<Server> server(new Server(options));
  ASSIGN_OR_RETURN(server->tree_, server->LoadTree());
  std::shared_ptr<AccessLogFile> log_file;
  if (!options.access_log.empty()) {
    auto opened = AccessLogFile::Open(options.access_log);
    if (!opened.ok()) return InvalidArgument(Message(opened.status()));
    log_file = std::move(opened).value();
  }
  ASSIGN_OR_RETURN(server->listeners_, bind());
  RETURN_IF_ERROR(server->StartWorkers(log_file));
  server->registration_ =
      metrics->Register([raw = server.get()](daemon::MetricsPage& page) { raw->Collect(page); });
  daemon::Started started;
  for (const auto& listener : server->listeners_) started.listen.push_back(listener.local);
  started.service = std::move(server);
  return started;
}

Server::Server(ServerOptions options) : options_(std::move(options)) {}

Server::~Server() {
  registration_ = {};
  for (const auto& worker : workers_) worker->Stop();
}

absl::StatusOr<std::shared_ptr<const FileTree>> Server::LoadTree() const {
  return options_.content_file.empty() ? FileTree::FromRoot(options_.root, options_.dot_files)
                                       : FileTree::FromContentFile(options_.content_file);
}

absl::Status Server::StartWorkers(const std::shared_ptr<AccessLogFile>& log_file) {
  const unsigned count =
      options_.threads > 0 ? options_.threads : std::max(2U, std::thread::hardware_concurrency());
  const std::size_t descriptors = RaiseDescriptorLimit();
  const std::size_t open_files = std::min(kOpenFilesMax, descriptors / 8) / count;
  limit_.refused_max = std::min(limit_.refused_max, descriptors / 8);
  const std::size_t reserved =
      kDescriptorsReserved + open_files * count + limit_.refused_max + std::size_t{2} * count;
  const std::size_t possible = descriptors > reserved ? descriptors - reserved : 1;
  limit_.connections_max = std::min(options_.connections_max, possible);
  if (limit_.connections_max < options_.connections_max) {
    spdlog::info("at most {} connections instead of {}: the limit of open files is {}",
                 limit_.connections_max, options_.connections_max, descriptors);
  }

  const Worker::Options worker_options{
      .connection = {.dialect = options_.dialect,
                     .header_timeout = FromSeconds(options_.header_timeout_s),
                     .progress_timeout = FromSeconds(options_.timeout_s)},
      .send_buffer_bytes = options_.send_buffer_total / count};
  const Worker::MakeSource make_source = [&](net::EventLoop* loop) {
    auto files = std::make_unique<FileSource>(
        loop, tree_,
        FileSource::Options{.revalidate = FromSeconds(options_.revalidate_s),
                            .open_files_max = open_files});
    sources_.push_back(files.get());
    std::unique_ptr<ContentSource> source = std::move(files);
    if (options_.delay_us > 0) {
      source = std::make_unique<DelayedSource>(loop, std::move(source),
                                               std::chrono::microseconds(options_.delay_us));
    }
    return source;
  };
  for (unsigned i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(auto worker,
                     Worker::Create(worker_options, &listeners_, &limit_, make_source, log_file));
    workers_.push_back(std::move(worker));
  }
  for (unsigned i = 0; i < count; ++i) workers_[i]->Start(fmt::format("worker-{}", i));
  return absl::OkStatus();
}

void Server::Drain(TimePoint deadline) {
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
    worker->Post([&, raw = worker.get()] {
      raw->BeginShutdown([&] { count_down(&listening); }, [&] { count_down(&busy); });
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

void Server::Reload() {
  if (!options_.content_file.empty()) {
    if (auto tree = LoadTree(); tree.ok()) {
      tree_ = std::move(tree).value();
      for (std::size_t i = 0; i < workers_.size(); ++i) {
        workers_[i]->Post([source = sources_[i], fresh = tree_] { source->SetTree(fresh); });
      }
      spdlog::info("reload: content file read again");
    } else {
      spdlog::error("reload: the old content stays: {}", Message(tree.status()));
    }
  }
  if (!options_.access_log.empty()) {
    if (auto file = AccessLogFile::Open(options_.access_log); file.ok()) {
      for (const auto& worker : workers_) {
        worker->Post([raw = worker.get(), fresh = *file] { raw->access_log().SetFile(fresh); });
      }
    } else {
      spdlog::error("reload: the old access log stays: {}", Message(file.status()));
    }
  }
}

void Server::Collect(daemon::MetricsPage& page) const {
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
          "getfile_requests_total",
          "Answered requests by protocol and status (HTTP codes by the nearest status).",
          sum([row = static_cast<std::size_t>(protocol), column = static_cast<std::size_t>(status)](
                  const WorkerCounters& counters) { return counters.answers[row][column].Get(); }),
          {{"protocol", protocol_name}, {"status", Name(status)}});
    }
  }
  page.Count("getfile_answers_broken_total", "Answers that were not sent to their end.",
             counter(&WorkerCounters::answers_broken));
  page.Count("getfile_body_bytes_total", "Body bytes given to the kernel.",
             counter(&WorkerCounters::body_bytes));
  page.Count("getfile_connections_accepted_total", "Accepted connections.",
             counter(&WorkerCounters::accepted));
  page.Count("getfile_connections_refused_total",
             "Connections beyond --max-connections, answered ERROR or closed.",
             counter(&WorkerCounters::refused) + counter(&WorkerCounters::dropped));
  page.Count("getfile_accept_errors_total", "Failed accepts (no descriptors, no memory).",
             counter(&WorkerCounters::accept_errors));
  page.Count("getfile_timeouts_total", "Connections ended by a time limit.",
             counter(&WorkerCounters::header_timeouts), {{"limit", "header"}});
  page.Count("getfile_timeouts_total", "", counter(&WorkerCounters::progress_timeouts),
             {{"limit", "progress"}});
  page.Count("getfile_sources_broken_total", "Files that ended or failed while being sent.",
             counter(&WorkerCounters::sources_broken));
  page.Gauge("getfile_connections_open", "Open connections.",
             sum([](const WorkerCounters& counters) { return counters.connections.load(); }));
  page.Gauge("getfile_send_buffer_bytes", "Bytes known to wait in the kernel's send buffers.",
             sum([](const WorkerCounters& counters) { return counters.send_buffer_bytes.load(); }));
  std::vector<const LogHistogram*> answer_ns;
  std::uint64_t lines_lost = 0;
  for (const auto& worker : workers_) {
    answer_ns.push_back(&worker->counters().answer_ns);
    lines_lost += worker->log_lines_lost();
  }
  page.Histogram("getfile_answer_seconds",
                 "From the end of a request's header to the last byte given to the kernel.",
                 answer_ns, 1e9);
  page.Count("getfile_access_log_lines_lost_total", "Access log lines that the disk refused.",
             static_cast<double>(lines_lost));
}

}  // namespace ds::getfile
