#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/daemon/daemon.h"
#include "common/daemon/metrics.h"
#include "common/net/event_loop.h"
#include "ipc_proxy_cache/cache/cache.h"
#include "ipc_proxy_cache/cache/options.h"

namespace ds::ipc_proxy_cache {

/// getfile-cached: a cache on a thread of its own. The frame's threads only post to it.
class CacheService final : public daemon::Service {
 public:
  /// Loads what is pinned, listens and serves. kInvalidArgument: options or content were refused.
  /// `metrics` must outlive the service.
  static absl::StatusOr<daemon::Started> Start(const CacheOptions& options,
                                               daemon::Metrics* metrics);
  ~CacheService() override;

  void Drain(TimePoint deadline) override;
  /// Reads the content file again; a bad one keeps what is there.
  void Reload() override;

 private:
  CacheService(CacheOptions options, std::unique_ptr<net::EventLoop> loop);
  /// Runs `task` on the cache's thread and waits for it.
  void Call(const std::function<void()>& task);
  /// Before the thread runs, or by Call() from another one.
  absl::Status Preload(bool running);
  void Collect(daemon::MetricsPage& page) const;

  const CacheOptions options_;
  std::unique_ptr<net::EventLoop> loop_;
  std::unique_ptr<Cache> cache_;  ///< its thread's, but for the counters
  std::jthread thread_;
  daemon::Metrics::Registration registration_;  ///< the first to go
};

}  // namespace ds::ipc_proxy_cache
