#include "getfile/front/worker.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <limits>
#include <utility>

#include "common/base/check.h"
#include "common/base/http_date.h"

namespace ds::getfile {
namespace {

constexpr int kAcceptsPerTurn = 64;
/// So many connections at one look are a crowd. Of a single client that comes again and again two
/// are found at times, the second while the first was served.
constexpr int kCrowd = 4;
constexpr Duration kDeferTime = std::chrono::seconds(1);
constexpr Duration kAcceptPause = std::chrono::milliseconds(100);
constexpr Duration kShrinkAfter = std::chrono::seconds(1);
constexpr int kShrinksPerCall = 4;
constexpr int kMeasuresPerCall = 8;
/// How long a peer gets to close while others keep the worker busy, and when nothing else happens.
/// The second is longer than the kernel's tick: an earlier timer would be set in hardware each time
/// the worker waits.
constexpr Duration kLingerTime = std::chrono::milliseconds(1);
constexpr Duration kLingerTimeIdle = std::chrono::milliseconds(20);

}  // namespace

/// One listening socket in this worker's loop. EPOLLEXCLUSIVE: a new connection wakes one worker,
/// not all of them.
class Worker::ListenerWatcher final : private net::EventLoop::Watcher,
                                      private net::EventLoop::Timer {
 public:
  ListenerWatcher(Worker* worker, int socket) : worker_(worker), socket_(socket) {}
  ~ListenerWatcher() override { Stop(); }

  absl::Status Start() {
    RETURN_IF_ERROR(worker_->loop().Add(socket_, EPOLLIN | EPOLLEXCLUSIVE, this));
    watching_ = true;
    return absl::OkStatus();
  }
  void Stop() {
    if (watching_) worker_->loop().Remove(socket_, this);
    watching_ = false;
    worker_->loop().Cancel(this);
  }
  /// Accepts until nobody waits, or until others should have their turn; returns how many came.
  int Accept(int accepts_max) {
    for (int i = 0; i < accepts_max; ++i) {
      sockaddr_storage address{};
      socklen_t length = sizeof address;
      UniqueFd socket(::accept4(socket_, reinterpret_cast<sockaddr*>(&address), &length,
                                SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (socket) {
        worker_->Adopt(std::move(socket),
                       net::Endpoint(reinterpret_cast<const sockaddr*>(&address), length));
        continue;
      }
      switch (errno) {
        case EAGAIN:
          return i;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
          // The connection stays in the queue and the listener readable: without a pause this
          // would spin.
          worker_->counters_.accept_errors.Add();
          Pause();
          return i;
        default:  // the peer is gone already (ECONNABORTED), or its network reports an error
          worker_->counters_.accept_errors.Add();
          continue;
      }
    }
    return accepts_max;
  }

 private:
  /// When connections come in a crowd, has the kernel hold each back until its request is there (or
  /// for a second): one wake-up for each instead of two. One that comes alone is better accepted
  /// while its request is on the way. The listener is shared: what one worker asks for holds for
  /// all, and is asked for again each second.
  void AdaptTo(int accepted) {
    const TimePoint now = worker_->loop().now();
    if (accepted >= kCrowd) {
      crowd_time_ = now;
      if (deferring_ && now - deferring_since_ < kDeferTime) return;
      deferring_ = true;
      deferring_since_ = now;
    } else {
      if (!deferring_ || now - crowd_time_ < kDeferTime) return;
      deferring_ = false;
    }
    const int seconds = deferring_ ? 1 : 0;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds);
  }
  void Pause() {
    if (!watching_) return;
    worker_->loop().Remove(socket_, this);
    watching_ = false;
    worker_->loop().Arm(this, worker_->loop().now() + kAcceptPause);
  }
  void OnEvents(std::uint32_t /*events*/) override { AdaptTo(Accept(kAcceptsPerTurn)); }
  void OnTimer() override {
    if (!Start().ok()) worker_->loop().Arm(this, worker_->loop().now() + kAcceptPause);
  }

  Worker* const worker_;
  const int socket_;
  bool watching_ = false;
  bool deferring_ = false;  ///< asked for by this worker, last at deferring_since_
  TimePoint deferring_since_;
  TimePoint crowd_time_;  ///< when several came at once
};

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(const Options& options,
                                                       const std::vector<net::Listener>* listeners,
                                                       ConnectionLimit* limit,
                                                       const MakeSource& make_source,
                                                       std::shared_ptr<AccessLogFile> log_file) {
  ASSIGN_OR_RETURN(auto loop, net::EventLoop::Create());
  std::unique_ptr<Worker> worker(new Worker(options, std::move(loop), limit, std::move(log_file)));
  ASSIGN_OR_RETURN(worker->source_, make_source(worker->loop_.get()));
  for (const net::Listener& listener : *listeners) {
    auto watcher = std::make_unique<ListenerWatcher>(worker.get(), listener.socket.get());
    RETURN_IF_ERROR(watcher->Start());
    worker->listeners_.push_back(std::move(watcher));
  }
  return worker;
}

Worker::Worker(const Options& options, std::unique_ptr<net::EventLoop> loop, ConnectionLimit* limit,
               std::shared_ptr<AccessLogFile> log_file)
    : options_(options),
      loop_(std::move(loop)),
      limit_(limit),
      send_budget_(options.send_buffer_bytes, limit->connections_max),
      access_log_(loop_.get(), std::move(log_file)) {
  options_.connection.http_date = &http_date_;
  FormatDate();
}

void Worker::FormatDate() {
  http_date_ = FormatHttpDate(std::time(nullptr));
  date_time_ = loop_->now();
}

Worker::~Worker() {
  Stop();
  connections_.clear();
  listeners_.clear();
  loop_->Cancel(this);
}

void Worker::Start(const std::string& name) {
  thread_ = std::jthread([this] { loop_->Run(); });
  ::pthread_setname_np(thread_.native_handle(), name.c_str());
}

void Worker::Stop() {
  if (!thread_.joinable()) return;
  loop_->Stop();
  thread_.join();
}

void Worker::Adopt(UniqueFd socket, const net::Endpoint& peer) {
  const std::size_t before = limit_->connections.fetch_add(1, std::memory_order_relaxed);
  const bool refuse = before >= limit_->connections_max;
  if (before >= limit_->connections_max + limit_->refused_max) {
    limit_->connections.fetch_sub(1, std::memory_order_relaxed);
    counters_.dropped.Add();
    return;
  }
  (refuse ? counters_.refused : counters_.accepted).Add();
  auto connection = std::make_unique<Connection>(this, std::move(socket), peer, refuse);
  connection->index = connections_.size();
  Connection* const raw = connection.get();
  connections_.push_back(std::move(connection));
  counters_.connections.store(connections_.size(), std::memory_order_relaxed);
  raw->Advance();
}

void Worker::Close(Connection* connection, ServerConnection::End end) {
  switch (end) {
    case ServerConnection::End::kHeaderTimeout:
      counters_.header_timeouts.Add();
      break;
    case ServerConnection::End::kProgressTimeout:
      counters_.progress_timeouts.Add();
      break;
    case ServerConnection::End::kSourceBroken:
      counters_.sources_broken.Add();
      break;
    case ServerConnection::End::kDone:
    case ServerConnection::End::kPeerGone:
      break;
  }
  const std::size_t index = connection->index;
  CHECK(connections_[index].get() == connection);
  std::swap(connections_[index], connections_.back());
  connections_[index]->index = index;
  connections_.pop_back();
  limit_->connections.fetch_sub(1, std::memory_order_relaxed);
  counters_.connections.store(connections_.size(), std::memory_order_relaxed);
  PublishSendBuffer();
  if (connections_.empty() && on_idle_) std::exchange(on_idle_, nullptr)();
}

void Worker::PublishSendBuffer() {
  counters_.send_buffer_bytes.store(send_budget_.bytes_used(), std::memory_order_relaxed);
}

void Worker::Record(const net::Endpoint& peer, const FinishedAnswer& answer) {
  counters_
      .answers[static_cast<std::size_t>(answer.protocol)][static_cast<std::size_t>(answer.status)]
      .Add();
  counters_.body_bytes.Add(answer.body_sent);
  if (answer.body_sent < answer.body_length) counters_.answers_broken.Add();
  counters_.answer_ns.Record(static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(answer.elapsed).count()));
  if (access_log_.enabled()) access_log_.Add(peer.Host(), answer);
}

void Worker::Linger(Connection* connection) {
  EndLingering(kLingerTime);
  connection->lingering = true;
  connection->linger_begin = loop_->now();
  connection->linger_place = lingering_.insert(lingering_.end(), connection);
  if (!armed()) loop_->Arm(this, loop_->now() + kLingerTimeIdle);
}

void Worker::CancelLinger(Connection* connection) {
  connection->lingering = false;
  lingering_.erase(connection->linger_place);
}

void Worker::EndLingering(Duration time_min) {
  while (!lingering_.empty() && loop_->now() - lingering_.front()->linger_begin >= time_min) {
    Connection* const connection = lingering_.front();
    CancelLinger(connection);
    connection->Advance();  // may destroy it
  }
}

void Worker::OnTimer() {
  EndLingering(kLingerTimeIdle / 2);
  if (!lingering_.empty()) loop_->Arm(this, loop_->now() + kLingerTimeIdle);
}

void Worker::AddCharged(Connection* connection) {
  connection->charged_place = charged_.insert(charged_.end(), connection);
}

void Worker::MeasureIfTight() {
  for (int i = 0; i < kMeasuresPerCall && send_budget_.tight() && !charged_.empty(); ++i) {
    Connection* const connection = charged_.front();
    charged_.splice(charged_.end(), charged_, charged_.begin());
    connection->MeasureQueue();
  }
}

std::uint64_t Worker::InitialAllowance() {
  MeasureIfTight();
  return send_budget_.InitialAllowance();
}

std::uint64_t Worker::GrownAllowance(std::uint64_t allowance) {
  MeasureIfTight();
  return send_budget_.GrownAllowance(allowance);
}

void Worker::ShrinkBlocked() {
  // A few at a time: whoever finds the budget tight goes on with the next ones.
  for (int i = 0; i < kShrinksPerCall && !blocked_.empty(); ++i) {
    Connection* const longest = blocked_.front();
    if (loop_->now() - longest->blocked_time() < kShrinkAfter) return;
    longest->Shrink();
  }
}

void Worker::BeginShutdown(TimePoint deadline, const std::function<void()>& on_deaf,
                           std::function<void()> on_idle) {
  // Who has connected already is served, but for those that the kernel holds back (see AdaptTo).
  for (const auto& listener : listeners_) listener->Accept(std::numeric_limits<int>::max());
  listeners_.clear();
  on_deaf();
  source_->BeginShutdown(deadline);
  for (std::size_t i = connections_.size(); i-- > 0;) {
    // Whoever closes is replaced by the last one, which was asked already; and one connection's end
    // may end others that linger.
    if (i < connections_.size()) connections_[i]->BeginShutdown();
  }
  if (connections_.empty()) return on_idle();
  on_idle_ = std::move(on_idle);
}

}  // namespace ds::getfile
