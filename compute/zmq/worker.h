#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "common/daemon/daemon.h"
#include "common/daemon/metrics.h"
#include "compute/core/reliable_worker.h"
#include "compute/zmq/options.h"
#include "compute/zmq/socket.h"

namespace ds::compute::zmq {

/// zmq-prime and zmq-gcd: computes for a broker, by the classic service, the reliable one or both,
/// on one thread. A broker that is away is waited for.
class Worker final : public daemon::Service {
 public:
  /// Returns once the broker is there and knows of the worker; kDeadlineExceeded after
  /// start_timeout_s, kCancelled when `stop` is requested before.
  static absl::StatusOr<daemon::Started> Start(const WorkerOptions& options,
                                               const std::stop_token& stop,
                                               daemon::Metrics* metrics);
  ~Worker() override;

  /// Answers what has arrived, and says goodbye to the broker.
  void Drain(TimePoint deadline) override;
  int failed_fd() const override { return failed_.get(); }

 private:
  struct Counts {
    std::uint64_t classic = 0, reliable = 0, wrong = 0, ignored = 0;
  };

  explicit Worker(WorkerOptions options);
  absl::Status OpenClassic();
  absl::Status OpenReliable();
  absl::Status Connect();
  void Serve();
  absl::Status Turn();
  absl::Status ServeClassic();
  bool AnswerClassic();
  void FinishClassic(TimePoint deadline);
  void ServeReliable();
  void Collect(daemon::MetricsPage& page);

  const WorkerOptions options_;
  net::HostPort reliable_address_;
  ZmqContext context_;
  // Classic.
  std::optional<Socket> requests_;
  std::optional<Socket> answers_;
  bool connected_ = false;  ///< once: requests_
  bool heard_ = false;      ///< the broker reads answers_
  // Reliable.
  std::optional<Socket> broker_;
  std::optional<ReliableWorker> reliable_;
  UniqueFd wake_;    ///< eventfd: stopping_
  UniqueFd failed_;  ///< eventfd: the thread has ended by itself

  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool ready_ = false;     ///< guarded by mutex_
  bool stopping_ = false;  ///< guarded by mutex_
  TimePoint deadline_{};   ///< guarded by mutex_: of the stop
  absl::Status failure_;   ///< guarded by mutex_
  Counts shown_;           ///< guarded by mutex_
  Counts counts_;

  daemon::Metrics::Registration registration_;
  std::jthread thread_;
};

/// main() of both programs.
int RunWorker(Command::Kind kind, const char* program, const char* summary, int argc, char** argv);

}  // namespace ds::compute::zmq
