#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/counter.h"
#include "common/base/status.h"
#include "common/base/time.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "getfile/core/server_connection.h"
#include "getfile/front/access_log.h"
#include "getfile/front/connection.h"
#include "getfile/front/content_source.h"
#include "getfile/front/send_budget.h"

namespace ds::getfile {

/// What one worker counts. Written by the worker, read by the scrape.
struct alignas(64) WorkerCounters {
  /// By Protocol and AnswerStatus.
  std::array<std::array<Counter, kAnswerStatusCount>, 2> answers;
  Counter answers_broken;  ///< of those, not sent to the end
  Counter body_bytes;
  Counter accepted;
  Counter refused;        ///< accepted beyond the limit and answered ERROR
  Counter dropped;        ///< beyond even that, closed without an answer
  Counter accept_errors;  ///< EMFILE and its like
  Counter header_timeouts;
  Counter progress_timeouts;
  Counter sources_broken;  ///< bodies that could not be sent to their end
  LogHistogram answer_ns;  ///< from the end of the header to the last byte given to the kernel
  std::atomic<std::uint64_t> connections{0};
  std::atomic<std::uint64_t> send_buffer_bytes{0};
};

/// How many connections there are, in all workers together.
struct ConnectionLimit {
  std::size_t connections_max = 65536;
  std::size_t refused_max = 256;  ///< further ones that get an answer that refuses them
  std::atomic<std::size_t> connections{0};
};

/// One thread with its event loop: accepts from the shared listeners, and serves what it accepted
/// to the end. Nothing is shared with other workers but the listeners and the limit. The methods
/// belong to the worker's own thread; other threads reach it with Post().
class Worker : private net::EventLoop::Timer {
 public:
  struct Options {
    ServerConnection::Options connection;
    std::uint64_t send_buffer_bytes = 128U << 20U;  ///< this worker's share
  };

  /// Makes the worker's source, on its loop.
  using MakeSource = std::function<absl::StatusOr<std::unique_ptr<ContentSource>>(net::EventLoop*)>;

  /// `listeners` and `limit` must outlive the worker. Serves once Start() is called.
  static absl::StatusOr<std::unique_ptr<Worker>> Create(const Options& options,
                                                        const std::vector<net::Listener>* listeners,
                                                        ConnectionLimit* limit,
                                                        const MakeSource& make_source,
                                                        std::shared_ptr<AccessLogFile> log_file);
  ~Worker() override;

  /// Starts the thread. `name`: at most 15 bytes, for ps and top.
  void Start(const std::string& name);
  /// Runs `task` on the worker's thread. Thread-safe.
  void Post(std::function<void()> task) { loop_->Post(std::move(task)); }
  /// Ends the thread. Connections are closed by the destructor. Thread-safe.
  void Stop();

  /// Accepts what is waiting, then no more: the listeners are not used after `on_deaf` was called.
  /// Tells the source, and ends every connection after the answer under way; `on_idle` is called
  /// once there is none left. `deadline`: when Stop() will cut off who is left.
  void BeginShutdown(TimePoint deadline, const std::function<void()>& on_deaf,
                     std::function<void()> on_idle);

  const WorkerCounters& counters() const { return counters_; }
  std::uint64_t log_lines_lost() const { return access_log_.lines_lost().Get(); }
  AccessLog& access_log() { return access_log_; }

  // For Connection.
  net::EventLoop& loop() { return *loop_; }
  ContentSource& source() { return *source_; }
  const ServerConnection::Options& connection_options() const { return options_.connection; }
  /// Makes the date of HTTP answers current.
  void RefreshDate() {
    if (loop_->now() - date_time_ >= std::chrono::seconds(1)) FormatDate();
  }
  SendBudget& send_budget() { return send_budget_; }
  std::array<char, 16384>& read_buffer() { return read_buffer_; }
  void Record(const net::Endpoint& peer, const FinishedAnswer& answer);
  void Close(Connection* connection, ServerConnection::End end);
  void PublishSendBuffer();
  /// Advances `connection` once its peer has had time to close, some milliseconds from now. The
  /// last thing that most peers do is to close; being woken for each such end, in the middle of
  /// others' requests, would cost more than the request itself.
  void Linger(Connection* connection);
  void CancelLinger(Connection* connection);
  /// Connections whose peers take nothing, longest blocked first.
  std::list<Connection*>& blocked() { return blocked_; }
  /// What a connection may fill (see SendBudget). When the budget is tight, some connections are
  /// measured anew first: an idle peer has acknowledged long since what it was charged for.
  std::uint64_t InitialAllowance();
  std::uint64_t GrownAllowance(std::uint64_t allowance);
  void AddCharged(Connection* connection);
  void RemoveCharged(Connection* connection) { charged_.erase(connection->charged_place); }
  /// Shrinks some of them. What they hold cannot be taken back; they shall not fill up again.
  void ShrinkBlocked();

 private:
  class ListenerWatcher;

  Worker(const Options& options, std::unique_ptr<net::EventLoop> loop, ConnectionLimit* limit,
         std::shared_ptr<AccessLogFile> log_file);
  void FormatDate();
  void MeasureIfTight();
  void EndLingering(Duration time_min);
  void OnTimer() override;
  void Adopt(UniqueFd socket, const net::Endpoint& peer);

  Options options_;
  const std::unique_ptr<net::EventLoop> loop_;
  ConnectionLimit* const limit_;
  std::unique_ptr<ContentSource> source_;
  SendBudget send_budget_;
  WorkerCounters counters_;
  AccessLog access_log_;
  std::vector<std::unique_ptr<ListenerWatcher>> listeners_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::list<Connection*> blocked_;
  std::list<Connection*> charged_;    ///< all that hold send buffer; longest not measured first
  std::list<Connection*> lingering_;  ///< the longest lingering first
  std::array<char, 16384> read_buffer_;
  std::string http_date_;
  TimePoint date_time_;
  std::function<void()> on_idle_;
  std::jthread thread_;
};

}  // namespace ds::getfile
