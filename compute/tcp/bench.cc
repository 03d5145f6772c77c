#include "compute/tcp/bench.h"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/time.h"
#include "common/load/cpu_time.h"
#include "common/net/endpoint.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "compute/tcp/bench_script.h"

namespace ds::compute::tcp {
namespace {

/// As prime-client's default list.
const std::vector<std::uint64_t> kDefaultNumbers = {15492781, 15492787, 15492803, 15492811,
                                                    15492810, 15492833, 15492859, 15502547,
                                                    15520301, 15527509, 15522343, 1550784};

std::uint64_t Nanoseconds(Duration duration) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
}

/// When what happens. The same for all threads.
struct Times {
  TimePoint start;    ///< of the load
  TimePoint measure;  ///< numbers are counted that are sent at or after this
  TimePoint end;      ///< nothing is sent from here on
};

class LoadThread;

/// One connection of the load. Belongs to its thread.
class LoadConnection final : net::EventLoop::Watcher {
 public:
  LoadConnection(LoadThread* thread, UniqueFd socket)
      : thread_(thread), socket_(std::move(socket)) {}
  ~LoadConnection() override;

  void Begin();
  /// The time is over: ends now if nothing is under way.
  void EndIfIdle();
  /// Fails if what is under way was sent, or last answered, before `limit`.
  void FailIfOlder(TimePoint limit);

 private:
  /// Numbers that were sent at the same time.
  struct Batch {
    TimePoint sent;
    std::size_t left = 0;
  };

  void OnEvents(std::uint32_t events) override;
  void Receive();
  void Send(std::size_t count, TimePoint now);
  void SendUnsent();
  void Watch(std::uint32_t events);
  void Fail(const char* kind, const std::string& why);
  void Close();

  LoadThread* const thread_;
  UniqueFd socket_;  ///< none: it is over
  std::uint32_t watched_ = 0;
  std::string_view unsent_;  ///< of the script
  std::size_t owed_ = 0;     ///< answered while the socket was full: to be sent anew
  BenchScript::Place asked_;
  BenchScript::Place answered_;
  std::deque<Batch> under_way_;
  TimePoint progress_time_;
};

/// One thread of the load: a loop with its connections.
class LoadThread final : net::EventLoop::Timer {
 public:
  /// `done_fd`: an eventfd that gets 1 when no connection is left.
  LoadThread(const BenchOptions& options, const BenchScript* script, int done_fd,
             std::unique_ptr<net::EventLoop> loop)
      : options_(options), script_(script), done_fd_(done_fd), loop_(std::move(loop)) {}
  ~LoadThread() override {
    Stop();
    connections_.clear();
    loop_->Cancel(this);
  }

  void Add(UniqueFd socket) {
    connections_.push_back(std::make_unique<LoadConnection>(this, std::move(socket)));
  }
  void Launch(const Times& times) {
    times_ = times;
    open_ = connections_.size();
    loop_->Post([this] {
      for (const auto& connection : connections_) connection->Begin();
    });
    loop_->Arm(this, times.end);
    thread_ = std::jthread([this] { loop_->Run(); });
  }
  /// Ends the thread, with numbers under way or without.
  void Stop() {
    if (!thread_.joinable()) return;
    loop_->Stop();
    thread_.join();
  }

  // REQUIRES: stopped.
  const load::LoadTally& tally() const { return tally_; }
  TimePoint last_counted() const { return last_counted_; }

  // For LoadConnection.
  const BenchScript& script() const { return *script_; }
  net::EventLoop& loop() { return *loop_; }
  std::array<char, 65536>& buffer() { return buffer_; }
  std::size_t depth() const { return options_.depth; }
  bool MaySend(TimePoint now) const { return now < times_.end; }
  void Count(TimePoint sent, TimePoint now, std::size_t count) {
    if (sent < times_.measure) return;
    const std::uint64_t ns = Nanoseconds(now - sent);
    for (std::size_t i = 0; i < count; ++i) tally_.latency.Record(ns);
    last_counted_ = now;
  }
  void CountBytes(std::size_t bytes, TimePoint now) {
    if (now >= times_.measure) tally_.bytes += bytes;
  }
  void CountError(const char* kind, const std::string& why) { tally_.AddError(kind, why); }
  void OnClosed() {
    if (--open_ > 0) return;
    const std::uint64_t one = 1;
    CHECK(::write(done_fd_, &one, sizeof one) == sizeof one);
  }

 private:
  /// From the end on, once a second: who waits for an answer is waited for, but not for ever.
  void OnTimer() override {
    const TimePoint now = loop_->now();
    for (const auto& connection : connections_) {
      connection->EndIfIdle();
      connection->FailIfOlder(now - FromSeconds(options_.timeout_s));
    }
    if (open_ > 0) loop_->Arm(this, now + std::chrono::seconds(1));
  }

  const BenchOptions& options_;
  const BenchScript* const script_;
  const int done_fd_;
  const std::unique_ptr<net::EventLoop> loop_;
  Times times_;
  std::vector<std::unique_ptr<LoadConnection>> connections_;
  std::size_t open_ = 0;
  std::array<char, 65536> buffer_;
  load::LoadTally tally_;
  TimePoint last_counted_;
  std::jthread thread_;
};

LoadConnection::~LoadConnection() {
  if (watched_ != 0) thread_->loop().Forget(this);
}

void LoadConnection::Begin() {
  if (const auto added = thread_->loop().Add(socket_.get(), EPOLLIN, this); !added.ok()) {
    return Fail("connect", Message(added));
  }
  watched_ = EPOLLIN;
  Send(thread_->depth(), std::chrono::steady_clock::now());
}

void LoadConnection::OnEvents(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) SendUnsent();
  if (socket_ && (events & ~std::uint32_t{EPOLLOUT}) != 0) Receive();
}

void LoadConnection::Receive() {
  auto& buffer = thread_->buffer();
  const ssize_t n = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return Fail("closed", "receive: " + ErrnoText(errno));
  if (n == 0) return Fail("closed", "receive: the server has closed the connection");
  const TimePoint now = std::chrono::steady_clock::now();
  const std::string_view bytes(buffer.data(), static_cast<std::size_t>(n));
  std::size_t answers = 0;
  if (!thread_->script().CheckAnswers(bytes, &answered_, &answers)) {
    return Fail("wrong", "receive: not the answers to the numbers that were sent");
  }
  thread_->CountBytes(bytes.size(), now);
  progress_time_ = now;
  for (std::size_t left = answers; left > 0;) {
    if (under_way_.empty()) return Fail("wrong", "receive: more answers than numbers");
    Batch& batch = under_way_.front();
    const std::size_t count = std::min(left, batch.left);
    thread_->Count(batch.sent, now, count);
    left -= count;
    batch.left -= count;
    if (batch.left == 0) under_way_.pop_front();
  }
  if (!thread_->MaySend(now)) {
    EndIfIdle();
  } else if (!unsent_.empty()) {
    owed_ += answers;
  } else if (answers > 0) {
    Send(answers, now);
  }
}

void LoadConnection::Send(std::size_t count, TimePoint now) {
  if (under_way_.empty()) progress_time_ = now;
  under_way_.push_back({now, count});
  unsent_ = thread_->script().Questions(&asked_, count);
  SendUnsent();
}

void LoadConnection::SendUnsent() {
  while (!unsent_.empty()) {
    const ssize_t n = ::send(socket_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return Watch(EPOLLIN | EPOLLOUT);
    if (n < 0) return Fail("closed", "send: " + ErrnoText(errno));
    unsent_.remove_prefix(static_cast<std::size_t>(n));
  }
  Watch(EPOLLIN);
  if (owed_ > 0 && thread_->MaySend(std::chrono::steady_clock::now())) {
    Send(std::exchange(owed_, 0), std::chrono::steady_clock::now());
  }
}

void LoadConnection::Watch(std::uint32_t events) {
  if (watched_ == events) return;
  thread_->loop().Rearm(socket_.get(), events, this);
  watched_ = events;
}

void LoadConnection::EndIfIdle() {
  if (socket_ && under_way_.empty()) Close();
}

void LoadConnection::FailIfOlder(TimePoint limit) {
  if (socket_ && progress_time_ < limit) Fail("timeout", "receive: no answer in time");
}

void LoadConnection::Fail(const char* kind, const std::string& why) {
  thread_->CountError(kind, why);
  Close();
}

void LoadConnection::Close() {
  if (watched_ != 0) thread_->loop().Forget(this);
  watched_ = 0;
  socket_.Reset();
  thread_->OnClosed();
}

/// Waits for `fd`, until `time` at most; false once `cancel_fd` is readable.
bool WaitUntil(int fd, TimePoint time, int cancel_fd, bool* ready) {
  *ready = false;
  const Duration left = time - std::chrono::steady_clock::now();
  if (left <= Duration::zero()) return true;
  const absl::Status waited = net::WaitFor(fd, POLLIN, left, cancel_fd);
  *ready = waited.ok();
  return waited.code() != absl::StatusCode::kCancelled;
}

}  // namespace

absl::StatusOr<load::LoadReport> RunBench(const BenchOptions& options, int cancel_fd) {
  ASSIGN_OR_RETURN(const auto host_port, net::HostPort::Parse(options.server));
  ASSIGN_OR_RETURN(const auto endpoints, net::Endpoint::Resolve(host_port));
  const std::size_t descriptors = net::RaiseDescriptorLimit();
  if (descriptors < options.connections + 2 * options.threads + 64) {
    return InvalidArgument(fmt::format("open {} connections: the limit of open files is {}",
                                       options.connections, descriptors));
  }
  const BenchScript script(options.numbers.empty() ? kDefaultNumbers : options.numbers,
                           options.bare, options.echo, options.depth);
  const UniqueFd done(::eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE));
  if (!done) return ErrnoError("eventfd", errno);
  std::vector<std::unique_ptr<LoadThread>> threads;
  for (unsigned i = 0; i < options.threads; ++i) {
    ASSIGN_OR_RETURN(auto loop, net::EventLoop::Create());
    threads.push_back(std::make_unique<LoadThread>(options, &script, done.get(), std::move(loop)));
  }
  for (unsigned i = 0; i < options.connections; ++i) {
    ASSIGN_OR_RETURN(auto socket,
                     net::ConnectTcp(endpoints, FromSeconds(options.timeout_s), cancel_fd));
    threads[i % options.threads]->Add(std::move(socket));
  }

  Times times;
  times.start = std::chrono::steady_clock::now();
  times.measure = times.start + FromSeconds(options.warmup_s);
  times.end = times.measure + FromSeconds(options.seconds);
  for (const auto& thread : threads) thread->Launch(times);
  unsigned threads_done = 0;
  bool interrupted = false;
  double cpu_at_measure = 0;
  for (const TimePoint until : {times.measure, TimePoint::max()}) {
    bool ready = true;
    while (threads_done < options.threads && ready && !interrupted) {
      const TimePoint limit = std::min(until, times.end + std::chrono::hours(100));
      interrupted = !WaitUntil(done.get(), limit, cancel_fd, &ready);
      std::uint64_t one = 0;
      if (ready && ::read(done.get(), &one, sizeof one) == sizeof one) ++threads_done;
    }
    if (until == times.measure) cpu_at_measure = load::CpuSeconds();
  }
  const TimePoint now = std::chrono::steady_clock::now();
  const double cpu_seconds = load::CpuSeconds() - cpu_at_measure;

  load::LoadReport report;
  report.protocol = fmt::format("{}, {}, depth {}", options.echo ? "echo" : "prime",
                                options.bare ? "bare numbers" : "lines", options.depth);
  report.connections = options.connections;
  report.threads = options.threads;
  report.cores = std::max(1U, std::thread::hardware_concurrency());
  TimePoint end = interrupted ? std::min(now, times.end) : times.measure;
  for (const auto& thread : threads) {
    thread->Stop();
    report.tally.Merge(thread->tally());
    end = std::max(end, thread->last_counted());
  }
  report.seconds = std::max(0.0, ToSeconds(end - times.measure));
  if (report.seconds > 0) {
    report.client_cpu_fraction = cpu_seconds / (report.seconds * options.threads);
  }
  return report;
}

}  // namespace ds::compute::tcp
