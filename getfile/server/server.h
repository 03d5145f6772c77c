#pragma once

#include <memory>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/base/time.h"
#include "common/daemon/daemon.h"
#include "common/daemon/metrics.h"
#include "common/net/socket.h"
#include "getfile/server/file_tree.h"
#include "getfile/server/options.h"
#include "getfile/server/worker.h"

namespace ds::getfile {

/// getfile-server: the workers, what they share, and what reaches all of them.
class Server final : public daemon::Service {
 public:
  /// Loads the content, binds with `bind` and serves. kInvalidArgument: the content was refused.
  /// `metrics` must outlive the server.
  static absl::StatusOr<daemon::Started> Start(
      const ServerOptions& options,
      const std::function<absl::StatusOr<std::vector<net::Listener>>()>& bind,
      daemon::Metrics* metrics);
  ~Server() override;

  void Drain(TimePoint deadline) override;
  /// Reads the content file again (a bad one keeps the old) and reopens the access log.
  void Reload() override;

 private:
  explicit Server(ServerOptions options);
  absl::StatusOr<std::shared_ptr<const FileTree>> LoadTree() const;
  absl::Status StartWorkers(const std::shared_ptr<AccessLogFile>& log_file);
  void Collect(daemon::MetricsPage& page) const;

  const ServerOptions options_;
  std::vector<net::Listener> listeners_;
  std::shared_ptr<const FileTree> tree_;
  ConnectionLimit limit_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<class FileSource*> sources_;  ///< of the workers, in their order
  daemon::Metrics::Registration registration_;
};

}  // namespace ds::getfile
