#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/daemon/daemon.h"
#include "common/daemon/metrics.h"
#include "getfile/front/front.h"
#include "getfile/server/file_tree.h"
#include "getfile/server/options.h"

namespace ds::getfile {

class FileSource;

/// getfile-server: a front, and the files behind it.
class Server final : public daemon::Service {
 public:
  /// Loads the content, binds with `bind` and serves. kInvalidArgument: the content was refused.
  /// `metrics` must outlive the server.
  static absl::StatusOr<daemon::Started> Start(const ServerOptions& options,
                                               const Front::Bind& bind, daemon::Metrics* metrics);

  void Drain(TimePoint deadline) override { front_->Drain(deadline); }
  /// Reads the content file again (a bad one keeps the old) and reopens the access log.
  void Reload() override;

 private:
  explicit Server(ServerOptions options) : options_(std::move(options)) {}
  absl::StatusOr<std::shared_ptr<const FileTree>> LoadTree() const;

  const ServerOptions options_;
  std::shared_ptr<const FileTree> tree_;
  std::vector<FileSource*> sources_;  ///< of the workers, in their order; the front owns them
  std::unique_ptr<Front> front_;
};

}  // namespace ds::getfile
