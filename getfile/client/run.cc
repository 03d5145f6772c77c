#include "getfile/client/run.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/parse.h"
#include "common/daemon/progress_meter.h"
#include "common/net/socket.h"
#include "getfile/client/download.h"
#include "getfile/client/fetcher.h"
#include "getfile/client/http_resume.h"
#include "getfile/client/workload.h"

namespace ds::getfile {
namespace {

constexpr Duration kRetryDelayMin = std::chrono::milliseconds(100);
constexpr Duration kRetryDelayMax = std::chrono::seconds(2);

struct Job {
  std::vector<std::string> paths;
  std::uint64_t requests = 0;
  std::vector<net::Endpoint> endpoints;
};

absl::StatusOr<std::vector<std::string>> LoadPaths(const ClientOptions& options) {
  if (options.paths.empty() == options.workload_file.empty()) {
    return InvalidArgument("nothing to do: give paths or a workload file (--workload), not both");
  }
  if (options.workload_file.empty()) {
    for (const std::string& path : options.paths) {
      if (!IsRequestPath(path)) {
        return InvalidArgument(
            fmt::format("fetch \"{}\": a path begins with /, has no blank or control byte and at "
                        "most {} bytes",
                        EscapeBytes(path.substr(0, 80)), kPathBytesMax));
      }
    }
    return options.paths;
  }
  return LoadWorkload(options.workload_file);
}

absl::StatusOr<std::optional<DownloadFolder::Digests>> DigestsToVerify(const std::string& file) {
  if (file.empty()) return std::optional<DownloadFolder::Digests>();
  ASSIGN_OR_RETURN(auto digests, LoadDigests(file));
  return std::optional<DownloadFolder::Digests>(std::move(digests));
}

/// The workers of one run and what they have in common.
class Run {
 public:
  Run(const ClientOptions& options, const Job& job, const DownloadFolder* folder, int cancel_fd)
      : options_(options),
        job_(job),
        folder_(folder),
        cancel_fd_(cancel_fd),
        meter_(job.requests) {}

  /// True when every request arrived.
  bool Execute() {
    {
      std::vector<std::jthread> threads;
      const auto count = std::min<std::uint64_t>(options_.threads, job_.requests);
      for (std::uint64_t i = 0; i < count; ++i) threads.emplace_back([this] { Work(); });
    }
    return failed_.load() == 0;
  }

 private:
  /// With --resume a path has one part file: its requests take turns.
  class PartTurn {
   public:
    PartTurn(Run* run, const std::string& path) : run_(run), path_(path) {
      if (run_ == nullptr) return;
      std::unique_lock lock(run_->parts_mutex_);
      run_->parts_changed_.wait(lock, [&] { return !run_->parts_.contains(path_); });
      run_->parts_.insert(path_);
    }
    ~PartTurn() {
      if (run_ == nullptr) return;
      const std::lock_guard lock(run_->parts_mutex_);
      run_->parts_.erase(path_);
      run_->parts_changed_.notify_all();
    }
    PartTurn(const PartTurn&) = delete;
    PartTurn& operator=(const PartTurn&) = delete;

   private:
    Run* const run_;
    const std::string& path_;
  };

  void Work() {
    const auto timeout =
        std::chrono::duration_cast<Duration>(std::chrono::duration<double>(options_.timeout_s));
    const FetchProgress progress{
        .expected = [this](std::uint64_t n) { meter_.AddBytesExpected(n); },
        .received = [this](std::uint64_t n) { meter_.AddBytes(n); }};
    Fetcher fetcher({.endpoints = job_.endpoints,
                     .keep_alive = options_.keep_alive,
                     .dialect = options_.dialect,
                     .timeout = timeout,
                     .cancel_fd = cancel_fd_},
                    folder_, progress);
    std::optional<HttpResume> http;
    if (options_.resume) {
      http.emplace(HttpResume::Options{.host = options_.server,
                                       .port = options_.port,
                                       .timeout = timeout,
                                       .cancel_fd = cancel_fd_},
                   folder_, progress);
    }
    for (;;) {
      const std::uint64_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= job_.requests) return;
      const std::string& path = job_.paths[i % job_.paths.size()];
      const PartTurn turn(options_.resume ? this : nullptr, path);
      const auto start = std::chrono::steady_clock::now();
      const FetchResult result = FetchWithRetries(path, &fetcher, http ? &*http : nullptr);
      if (result.error.code() == absl::StatusCode::kCancelled) return;
      if (!result.arrived()) failed_.fetch_add(1, std::memory_order_relaxed);
      Print(path, result, std::chrono::steady_clock::now() - start);
      meter_.AddItem();
    }
  }

  FetchResult FetchWithRetries(const std::string& path, Fetcher* fetcher, HttpResume* http) {
    Duration delay = kRetryDelayMin;
    for (unsigned attempt = 0;; ++attempt) {
      FetchResult result = FetchOnce(path, fetcher, http);
      // Worth another attempt: what the network or a busy server did, not what was refused.
      const bool retry = result.error.code() == absl::StatusCode::kUnavailable ||
                         result.error.code() == absl::StatusCode::kDeadlineExceeded ||
                         (result.error.ok() && result.status == AnswerStatus::kError);
      if (!retry || attempt >= options_.retries) return result;
      pollfd cancel{cancel_fd_, POLLIN, 0};
      const auto delay_ms = std::chrono::duration_cast<std::chrono::milliseconds>(delay).count();
      if (::poll(&cancel, 1, static_cast<int>(delay_ms)) > 0) {
        result.error = Error(absl::StatusCode::kCancelled, "interrupted");
        return result;
      }
      delay = std::min(delay * 2, kRetryDelayMax);
    }
  }

  FetchResult FetchOnce(const std::string& path, Fetcher* fetcher, HttpResume* http) {
    if (http != nullptr && !no_http_.load(std::memory_order_relaxed)) {
      HttpResume::Result result = http->Fetch(path);
      if (result.speaks_http) {
        if (!result.note.empty()) Note(fmt::format("resume \"{}\": {}", path, result.note));
        if (result.resumed_from > 0) {
          Note(fmt::format("resume \"{}\": continued at byte {}", path, result.resumed_from));
        }
        return std::move(result.fetch);
      }
      if (!no_http_.exchange(true)) {
        Note(
            "resume: the server does not speak HTTP, so nothing can be continued: fetching whole "
            "files by GETFILE");
      }
    }
    return fetcher->Fetch(path);
  }

  void Note(const std::string& text) {
    const MutexLock lock(mutex_);
    meter_.Wipe();
    std::fprintf(stderr, "getfile-client: %s\n", text.c_str());
  }

  void Print(const std::string& path, const FetchResult& result, Duration elapsed) {
    const char* const status = result.arrived()                      ? "OK"
                               : !result.status.has_value()          ? "FAILED"
                               : *result.status != AnswerStatus::kOk ? Name(*result.status)
                               : result.received < result.length     ? "BROKEN"
                                                                     : "FAILED";
    std::string line;
    if (options_.json) {
      nlohmann::ordered_json object;
      object["path"] = path;
      object["status"] = status;
      object["bytes"] = result.received;
      object["length"] = result.length;
      object["seconds"] = std::chrono::duration<double>(elapsed).count();
      if (!result.error.ok()) object["error"] = Message(result.error);
      // Paths are bytes; what is not UTF-8 is replaced.
      line = object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    } else {
      line = fmt::format("{} {} {} of {}", path, status, result.received, result.length);
    }
    const MutexLock lock(mutex_);
    meter_.Wipe();
    if (std::fprintf(stdout, "%s\n", line.c_str()) < 0) failed_.fetch_add(1);
    if (!result.error.ok()) {
      std::fprintf(stderr, "getfile-client: fetch \"%s\": %s (%s of %s bytes)\n", path.c_str(),
                   Message(result.error).c_str(), std::to_string(result.received).c_str(),
                   std::to_string(result.length).c_str());
    }
  }

  const ClientOptions& options_;
  const Job& job_;
  const DownloadFolder* const folder_;
  const int cancel_fd_;
  daemon::ProgressMeter meter_;
  std::atomic<std::uint64_t> next_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::atomic<bool> no_http_{false};
  Mutex mutex_;  ///< keeps lines whole
  std::mutex parts_mutex_;
  std::condition_variable parts_changed_;
  std::set<std::string> parts_;  ///< paths whose part file is in use; guarded by parts_mutex_
};

}  // namespace

int RunClient(const ClientOptions& options, daemon::Tool* tool) {
  Job job;
  auto paths = LoadPaths(options);
  if (!paths.ok()) return tool->Fail(paths.status());
  job.paths = std::move(paths).value();
  job.requests = options.requests > 0 ? options.requests : job.paths.size();
  auto digests = DigestsToVerify(options.verify_file);
  if (!digests.ok()) return tool->Fail(digests.status());
  auto folder = DownloadFolder::Open(options.output_folder, std::move(digests).value());
  if (!folder.ok()) return tool->Fail(folder.status());
  // An IPv6 address may stand in brackets, as in the server's ready line.
  std::string host = options.server;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  auto endpoints = net::Endpoint::Resolve({host, options.port});
  if (!endpoints.ok()) return tool->Fail(endpoints.status());
  job.endpoints = std::move(endpoints).value();

  tool->BeginWork();
  if (options.resume) curl_global_init(CURL_GLOBAL_DEFAULT);
  const bool all_arrived = Run(options, job, &*folder, tool->interrupt_fd()).Execute();
  if (std::fflush(stdout) != 0) {
    return tool->Fail(ErrnoError("write the results to standard output", errno));
  }
  if (tool->interrupted()) return tool->InterruptedExitCode();
  return all_arrived ? daemon::kExitSuccess : daemon::kExitFailure;
}

}  // namespace ds::getfile
