#include "getfile/client/load_generator.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <latch>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/parse.h"
#include "common/load/cpu_time.h"
#include "common/load/pacer.h"
#include "common/net/event_loop.h"
#include "getfile/client/workload.h"

namespace ds::getfile {
namespace {

/// From the decision to begin until the load begins: all threads shall be there by then.
constexpr Duration kLeadTime = std::chrono::milliseconds(10);
constexpr Duration kLeadTimePerThread = std::chrono::microseconds(200);

std::string HttpRequest(const std::string& path, const net::HostPort& host, bool keep_alive) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", PercentEncodePath(path),
                     host.ToString(), keep_alive ? "" : "Connection: close\r\n");
}

/// Raises the limit of open files to what is needed.
absl::Status AllowDescriptors(const BenchOptions& options) {
  // An epoll set and an eventfd per thread; standard streams and the like.
  const std::uint64_t needed =
      std::uint64_t{options.connections} + std::uint64_t{2} * options.threads + 64;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return ErrnoError("getrlimit", errno);
  if (limit.rlim_cur >= needed) return absl::OkStatus();
  limit.rlim_cur = std::min<rlim_t>(needed, limit.rlim_max);
  if (limit.rlim_max < needed || ::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return InvalidArgument(
        fmt::format("open {} connections: the limit of open files is {} (raise it: ulimit -Hn {})",
                    options.connections, limit.rlim_max, needed));
  }
  return absl::OkStatus();
}

/// When what happens. The same for all threads.
struct Times {
  TimePoint start;    ///< of the load
  TimePoint measure;  ///< requests are counted whose time begins at or after this
  TimePoint end;      ///< no request begins from here on; far away if their number decides
};

/// One thread of the load: a loop with its connections. The public methods are for the thread that
/// owns the object, the others run on its own.
class LoadThread final : BenchConnection::Owner {
 public:
  /// `done_fd`: an eventfd that gets 1 when there is nothing more to do.
  static absl::StatusOr<std::unique_ptr<LoadThread>> Create(const BenchOptions& options,
                                                            const BenchPlan& plan, unsigned index,
                                                            int done_fd) {
    ASSIGN_OR_RETURN(auto loop, net::EventLoop::Create());
    return std::unique_ptr<LoadThread>(
        new LoadThread(options, plan, index, done_fd, std::move(loop)));
  }

  void Launch(const Times& times) {
    times_ = times;
    if (rate_ > 0) pacer_.emplace(times.start, rate_, index_, threads_);
    loop_->Arm(&begin_, times.start);
    if (!by_number_) loop_->Arm(&end_, times.end);
    thread_ = std::jthread([this] {
      // Slots are due at exact times; the default lets the kernel wake us 50 us late.
      ::prctl(PR_SET_TIMERSLACK, 1);
      loop_->Run();
    });
  }

  /// Soon adds what was counted since the last call to `total`, under `mutex`, then counts down.
  /// REQUIRES: launched, not stopped.
  void Collect(Mutex* mutex, load::LoadTally* total, std::latch* collected) {
    loop_->Post([=, this] {
      {
        const MutexLock lock(*mutex);
        total->Merge(tally_);
      }
      tally_.Clear();
      collected->count_down();
    });
  }

  /// Ends the thread, with requests in flight or without.
  void Stop() {
    loop_->Stop();
    if (thread_.joinable()) thread_.join();
  }

  // REQUIRES: stopped.
  const load::LoadTally& tally() const { return tally_; }
  /// When the last counted request was over; long ago if there was none.
  TimePoint last_finished() const { return last_finished_; }
  std::uint64_t NeverBegun() const {
    return pacer_ && !by_number_ ? pacer_->WaitingBefore(times_.end) : 0;
  }

  ~LoadThread() { Stop(); }

 private:
  /// A timer that calls a method.
  class Alarm final : public net::EventLoop::Timer {
   public:
    Alarm(LoadThread* owner, void (LoadThread::*method)()) : owner_(owner), method_(method) {}
    ~Alarm() override { owner_->loop_->Cancel(this); }

   private:
    void OnTimer() override { (owner_->*method_)(); }
    LoadThread* const owner_;
    void (LoadThread::*const method_)();
  };

  LoadThread(const BenchOptions& options, const BenchPlan& plan, unsigned index, int done_fd,
             std::unique_ptr<net::EventLoop> loop)
      : plan_(plan),
        index_(index),
        threads_(options.threads),
        rate_(options.rate),
        done_fd_(done_fd),
        by_number_(options.requests > 0),
        left_(options.requests / options.threads + (index < options.requests % options.threads)),
        path_(index % plan.requests.size()),
        path_step_(options.threads % plan.requests.size()),
        loop_(std::move(loop)),
        session_(&plan, loop_.get()) {
    const unsigned count = options.connections / options.threads +
                           (index < options.connections % options.threads ? 1 : 0);
    BenchConnection::Owner* const owner = this;
    for (unsigned i = 0; i < count; ++i) {
      connections_.push_back(std::make_unique<BenchConnection>(&session_, owner));
    }
    idle_.resize(count);
  }

  void Begin() {
    const TimePoint now = std::chrono::steady_clock::now();
    for (const auto& connection : connections_) OnIdle(connection.get(), now);
    EndIfDone(now);
  }

  void OnEnd() { EndIfDone(std::chrono::steady_clock::now()); }

  void OnPacer() { StartDue(std::chrono::steady_clock::now()); }

  bool MayBegin(TimePoint now) const { return by_number_ ? left_ > 0 : now < times_.end; }

  void OnIdle(BenchConnection* connection, TimePoint now) override {
    if (!pacer_) {
      if (MayBegin(now)) StartNext(connection, now, now);
      return;
    }
    idle_[(idle_first_ + idle_count_++) % idle_.size()] = connection;
    if (idle_count_ > 1) return;  // what is due next has the timer, and a connection
    idle_since_ = now;
    StartDue(now);
  }

  /// Open loop: begins what is due on idle connections, the one that is idle for longest first.
  void StartDue(TimePoint now) {
    while (idle_count_ > 0 && MayBegin(now)) {
      const auto due = pacer_->NextDue(now);
      if (!due) {
        loop_->Arm(&pacing_, pacer_->next_time());
        return;
      }
      if (*due >= times_.measure &&
          now - std::max(*due, idle_since_) > std::chrono::nanoseconds(load::kLateNs)) {
        ++tally_.late_starts;
      }
      BenchConnection* const connection = idle_[idle_first_];
      idle_first_ = (idle_first_ + 1) % idle_.size();
      --idle_count_;
      StartNext(connection, *due, now);
      now = std::chrono::steady_clock::now();
    }
  }

  void StartNext(BenchConnection* connection, TimePoint counted_from, TimePoint now) {
    const BenchPlan::Request& request = plan_.requests[path_];
    path_ += path_step_;
    if (path_ >= plan_.requests.size()) path_ -= plan_.requests.size();
    if (by_number_ && counted_from >= times_.measure) --left_;
    ++in_flight_;
    connection->Start(request, counted_from, now);
  }

  void OnAnswered(TimePoint counted_from, TimePoint now, std::uint64_t bytes) override {
    if (counted_from >= times_.measure) {
      tally_.latency.Record(static_cast<std::uint64_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(now - counted_from).count()));
      tally_.bytes += bytes;
      last_finished_ = now;
    }
    --in_flight_;
    EndIfDone(now);
  }

  void OnFailed(TimePoint counted_from, TimePoint now, BenchError error,
                std::string_view what) override {
    if (counted_from >= times_.measure) {
      tally_.AddError(Name(error), what);
      last_finished_ = now;
    }
    --in_flight_;
    EndIfDone(now);
  }

  void EndIfDone(TimePoint now) {
    if (in_flight_ > 0 || done_ || MayBegin(now)) return;
    done_ = true;
    const std::uint64_t one = 1;
    CHECK(::write(done_fd_, &one, sizeof one) == sizeof one);
  }

  const BenchPlan& plan_;
  const unsigned index_;
  const unsigned threads_;
  const std::uint64_t rate_;  ///< requests/s of all threads; 0: closed loop
  Times times_;
  const int done_fd_;
  const bool by_number_;
  std::uint64_t left_;  ///< requests to begin, if their number decides
  std::size_t path_;    ///< of the next request
  std::size_t path_step_;
  std::optional<load::Pacer> pacer_;  ///< open loop
  load::LoadTally tally_;
  TimePoint last_finished_;
  std::size_t in_flight_ = 0;
  bool done_ = false;

  const std::unique_ptr<net::EventLoop> loop_;
  BenchSession session_;
  Alarm begin_{this, &LoadThread::Begin};
  Alarm end_{this, &LoadThread::OnEnd};
  Alarm pacing_{this, &LoadThread::OnPacer};
  std::vector<std::unique_ptr<BenchConnection>> connections_;
  // Open loop: the idle connections, a ring.
  std::vector<BenchConnection*> idle_;
  std::size_t idle_first_ = 0;
  std::size_t idle_count_ = 0;
  TimePoint idle_since_;  ///< from when on there always was one
  std::jthread thread_;
};

/// The threads of a run, seen from the main thread.
class LoadRun {
 public:
  LoadRun(const BenchOptions& options, const BenchPlan& plan, int cancel_fd)
      : options_(options),
        plan_(plan),
        cancel_fd_(cancel_fd),
        live_(::isatty(STDERR_FILENO) == 1),
        done_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  absl::StatusOr<load::LoadReport> Execute() {
    if (!done_) return ErrnoError("eventfd", errno);
    for (unsigned i = 0; i < options_.threads; ++i) {
      ASSIGN_OR_RETURN(auto thread, LoadThread::Create(options_, plan_, i, done_.get()));
      threads_.push_back(std::move(thread));
    }
    // Only now: what the client needs to get ready is not the server's time.
    times_.start =
        std::chrono::steady_clock::now() + kLeadTime + options_.threads * kLeadTimePerThread;
    times_.measure = times_.start + FromSeconds(options_.warmup_s);
    times_.end =
        options_.requests > 0 ? TimePoint::max() : times_.measure + FromSeconds(options_.seconds);
    for (const auto& thread : threads_) thread->Launch(times_);

    WaitUntil(times_.measure);
    const double cpu_at_start = load::CpuSeconds();
    for (TimePoint next = times_.measure + std::chrono::seconds(1); !over_;
         next += std::chrono::seconds(1)) {
      WaitUntil(live_ ? next : TimePoint::max());
      if (live_ && !over_) PrintInterval();
    }
    const TimePoint now = std::chrono::steady_clock::now();
    const double cpu_seconds = load::CpuSeconds() - cpu_at_start;
    for (const auto& thread : threads_) thread->Stop();
    return Report(now, cpu_seconds);
  }

 private:
  /// Until `time`, or until the run is over, by itself or by an interrupt.
  void WaitUntil(TimePoint time) {
    while (!over_) {
      int wait_ms = -1;
      if (time != TimePoint::max()) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(time - std::chrono::steady_clock::now());
        if (left.count() <= 0) return;
        wait_ms = static_cast<int>(std::min<std::int64_t>(left.count(), 3'600'000));
      }
      pollfd fds[2] = {{done_.get(), POLLIN, 0}, {cancel_fd_, POLLIN, 0}};
      if (::poll(fds, 2, wait_ms) <= 0) continue;
      std::uint64_t count = 0;
      if (::read(done_.get(), &count, sizeof count) == sizeof count) {
        threads_done_ += count;
        over_ = threads_done_ == threads_.size();
      }
      over_ |= interrupted_ = fds[1].revents != 0;
    }
  }

  void PrintInterval() {
    load::LoadTally interval;
    Mutex mutex;
    std::latch collected(static_cast<std::ptrdiff_t>(threads_.size()));
    for (const auto& thread : threads_) thread->Collect(&mutex, &interval, &collected);
    collected.wait();
    const TimePoint now = std::chrono::steady_clock::now();
    const TimePoint before = std::exchange(last_interval_, now);
    const TimePoint begin = std::max(before, times_.measure);
    std::fprintf(
        stderr, "%s\n",
        load::IntervalLine(ToSeconds(now - times_.measure), ToSeconds(now - begin), interval)
            .c_str());
    tally_.Merge(interval);
  }

  load::LoadReport Report(TimePoint now, double cpu_seconds) {
    TimePoint end = times_.measure;
    if (interrupted_) {
      end = now;
    } else if (options_.requests == 0) {
      end = times_.end;
    }
    load::LoadReport report;
    report.protocol = options_.protocol == Protocol::kHttp ? "http" : "getfile";
    report.connections = options_.connections;
    report.threads = options_.threads;
    report.cores = std::max(1U, std::thread::hardware_concurrency());
    for (const auto& thread : threads_) {
      tally_.Merge(thread->tally());
      end = std::max(end, thread->last_finished());
      if (!interrupted_) report.never_begun += thread->NeverBegun();
    }
    report.tally = std::move(tally_);
    report.seconds = std::max(0.0, ToSeconds(end - times_.measure));
    if (report.seconds > 0) {
      report.client_cpu_fraction = cpu_seconds / (report.seconds * options_.threads);
    }
    return report;
  }

  const BenchOptions& options_;
  const BenchPlan& plan_;
  const int cancel_fd_;
  const bool live_;
  const UniqueFd done_;
  Times times_;
  TimePoint last_interval_;
  bool over_ = false;
  bool interrupted_ = false;
  std::uint64_t threads_done_ = 0;
  load::LoadTally tally_;
  std::vector<std::unique_ptr<LoadThread>> threads_;
};

}  // namespace

absl::StatusOr<BenchPlan> MakeBenchPlan(const BenchOptions& options) {
  BenchPlan plan;
  plan.protocol = options.protocol;
  plan.keep_alive = options.keep_alive;
  plan.timeout = FromSeconds(options.timeout_s);
  ASSIGN_OR_RETURN(const auto paths, LoadWorkload(options.workload_file));
  std::map<std::string, std::string> digests;
  if (!options.verify_file.empty()) {
    ASSIGN_OR_RETURN(digests, LoadDigests(options.verify_file));
  }
  const net::HostPort host{options.server, options.port};
  std::vector<std::string> unlisted;
  for (const std::string& path : paths) {
    BenchPlan::Request request;
    request.path = path;
    if (options.protocol == Protocol::kHttp) {
      request.bytes = HttpRequest(path, host, options.keep_alive);
      if (!options.keep_alive) request.bytes_without_keep_alive = request.bytes;
    } else {
      request.bytes = FormatRequest(path, true);
      request.bytes_without_keep_alive = FormatRequest(path, false);
    }
    if (!options.verify_file.empty()) {
      const auto listed =
          digests.find(path.substr(std::min(path.find_first_not_of('/'), path.size())));
      if (listed == digests.end()) {
        unlisted.push_back(EscapeBytes(path));
      } else {
        request.digest = listed->second;
      }
    }
    plan.requests.push_back(std::move(request));
  }
  if (!unlisted.empty()) {
    return InvalidArgument(fmt::format("verify \"{}\": no digest of {}", options.verify_file,
                                       fmt::join(unlisted, ", ")));
  }
  RETURN_IF_ERROR(AllowDescriptors(options));
  ASSIGN_OR_RETURN(plan.endpoints, net::Endpoint::Resolve(host));
  return plan;
}

absl::StatusOr<load::LoadReport> GenerateLoad(const BenchOptions& options, const BenchPlan& plan,
                                              int cancel_fd) {
  return LoadRun(options, plan, cancel_fd).Execute();
}

}  // namespace ds::getfile
