#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/daemon/daemon.h"
#include "common/daemon/metrics.h"
#include "common/net/socket.h"
#include "getfile/front/access_log.h"
#include "getfile/front/content_source.h"
#include "getfile/front/options.h"
#include "getfile/front/worker.h"

namespace ds::getfile {

/// GETFILE and HTTP as clients see them, with any source of bytes behind: listeners, workers, their
/// limits, the access log and the metrics. Part of a program's Service, whose calls it is handed;
/// like those, its methods are called by one thread at a time.
class Front {
 public:
  using Bind = std::function<absl::StatusOr<std::vector<net::Listener>>()>;
  using MakeSource = Worker::MakeSource;

  /// What differs from program to program.
  struct Program {
    std::string metrics_prefix;            ///< "getfile_": in front of the name of every metric
    std::size_t descriptors_reserved = 0;  ///< open files of the program, its sources included
    Bind bind;
    MakeSource make_source;              ///< called for one worker after the other
    daemon::Metrics* metrics = nullptr;  ///< must outlive the front
  };

  /// Opens the access log, binds and serves. kInvalidArgument: the log was refused.
  static absl::StatusOr<std::unique_ptr<Front>> Start(const FrontOptions& options,
                                                      const Program& program);
  ~Front();

  /// See daemon::Service. The sources live on until the front is destroyed.
  void Drain(TimePoint deadline);
  void ReopenAccessLog();

  /// Where it listens, for the ready line.
  std::vector<net::Endpoint> listen() const;
  /// Runs `task` on a worker's thread, the one of its source.
  void Post(std::size_t worker, std::function<void()> task) {
    workers_[worker]->Post(std::move(task));
  }

 private:
  Front(FrontOptions options, std::string metrics_prefix);
  absl::Status StartWorkers(const Program& program, const std::shared_ptr<AccessLogFile>& log_file);
  void LimitConnections(std::size_t descriptors_reserved);
  void Collect(daemon::MetricsPage& page) const;

  const FrontOptions options_;
  const std::string metrics_prefix_;
  std::vector<net::Listener> listeners_;
  ConnectionLimit limit_;
  std::vector<std::unique_ptr<Worker>> workers_;
  daemon::Metrics::Registration registration_;
};

}  // namespace ds::getfile
