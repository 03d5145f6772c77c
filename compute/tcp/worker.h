#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/counter.h"
#include "common/base/status.h"
#include "common/net/event_loop.h"
#include "compute/core/prime_connection.h"
#include "compute/tcp/connection.h"
#include "compute/tcp/connection_queue.h"
#include "compute/tcp/line_printer.h"

namespace ds::compute::tcp {

/// What one worker counts. Written by the worker, read by the scrape.
struct alignas(64) WorkerCounters {
  Counter primes;
  Counter composites;
  Counter errors;
  Counter received_bytes;
  Counter connections;  ///< that were taken over
  Counter idle_timeouts;
  Counter peers_gone;
};

/// One thread with its event loop: takes connections from its queue and serves each whenever it is
/// ready, one at a time, to its end. The methods belong to the worker's own thread, but for those
/// that say so.
class Worker : private net::EventLoop::Watcher {
 public:
  using MakeProtocol = std::function<Protocol(TimePoint now)>;

  /// `connections_open` (of all workers together; the accepting thread counts up) and `printer`
  /// must outlive the worker.
  static absl::StatusOr<std::unique_ptr<Worker>> Create(MakeProtocol make_protocol,
                                                        std::atomic<std::size_t>* connections_open,
                                                        LinePrinter* printer);
  ~Worker() override;

  /// Starts the thread. `name`: at most 15 bytes, for ps and top.
  void Start(const std::string& name);

  // Thread-safe.
  ConnectionQueue& queue() { return *queue_; }
  /// How many connections it has, those in the queue included. The accepting thread adds.
  std::atomic<std::size_t>& load() { return load_; }
  const WorkerCounters& counters() const { return counters_; }
  /// Answers that wait for peers to take them. Thread-safe.
  std::size_t unsent_bytes() const { return unsent_bytes_.load(std::memory_order_relaxed); }
  /// From here on a peer can add only the answers to kReadBytesWhenFull bytes (at most 4 KiB).
  static constexpr std::size_t kUnsentBytesMax = 64U << 20U;
  static constexpr std::size_t kReadBytesWhenFull = 256;
  void Post(std::function<void()> task) { loop_->Post(std::move(task)); }
  /// Ends the thread. Connections are closed by the destructor.
  void Stop();

  /// Takes what is in the queue, ends every connection after what is in flight; `on_idle` is called
  /// once there is none left. REQUIRES: nothing is pushed any more.
  void BeginShutdown(std::function<void()> on_idle);

  // For Connection.
  net::EventLoop& loop() { return *loop_; }
  /// What one connection does in one turn at most.
  std::array<char, 16384>& read_buffer() { return read_buffer_; }
  /// So much of it is read in one turn: little while too much waits for peers that do not read.
  std::size_t read_bytes_max() const {
    return unsent_bytes() < kUnsentBytesMax ? read_buffer_.size() : kReadBytesWhenFull;
  }
  /// A connection keeps `now` bytes of answers that its peer has not taken, and kept `before`.
  void CountUnsent(std::size_t before, std::size_t now) {
    unsent_bytes_.store(unsent_bytes() - before + now, std::memory_order_relaxed);
  }
  /// Empty between two calls of connections.
  PrimeAnswers& answers() { return answers_; }
  void CountReceived(std::uint64_t bytes) { counters_.received_bytes.Add(bytes); }
  void CountAnswers();
  void Close(Connection* connection, Connection::End end);

 private:
  Worker(MakeProtocol make_protocol, std::unique_ptr<net::EventLoop> loop,
         std::unique_ptr<ConnectionQueue> queue, std::atomic<std::size_t>* connections_open,
         LinePrinter* printer);
  void OnEvents(std::uint32_t events) override;
  bool TakeOne();

  const MakeProtocol make_protocol_;
  const std::unique_ptr<net::EventLoop> loop_;
  const std::unique_ptr<ConnectionQueue> queue_;
  std::atomic<std::size_t>* const connections_open_;
  LinePrinter* const printer_;
  std::atomic<std::size_t> load_{0};
  std::atomic<std::size_t> unsent_bytes_{0};
  WorkerCounters counters_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::array<char, 16384> read_buffer_;
  PrimeAnswers answers_;
  std::function<void()> on_idle_;
  std::jthread thread_;
};

}  // namespace ds::compute::tcp
