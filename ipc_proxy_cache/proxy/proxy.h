#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/daemon/daemon.h"
#include "common/daemon/metrics.h"
#include "getfile/front/front.h"
#include "ipc_proxy_cache/proxy/counters.h"
#include "ipc_proxy_cache/proxy/options.h"
#include "ipc_proxy_cache/proxy/segment_desk.h"

namespace ds::ipc_proxy_cache {

class ProxySource;

/// getfile-proxy: a front, and behind each of its workers the cache and the origin.
class Proxy final : public daemon::Service {
 public:
  /// Binds with `bind` and serves. kInvalidArgument: the options were refused. `metrics` must
  /// outlive the proxy.
  static absl::StatusOr<daemon::Started> Start(const ProxyOptions& options,
                                               const getfile::Front::Bind& bind,
                                               daemon::Metrics* metrics);

  void Drain(TimePoint deadline) override { front_->Drain(deadline); }
  void Reload() override { front_->ReopenAccessLog(); }

 private:
  explicit Proxy(ProxyOptions options) : options_(std::move(options)) {}
  void Collect(daemon::MetricsPage& page) const;

  const ProxyOptions options_;
  std::unique_ptr<SharedSegments> segments_;
  std::vector<const ProxySource*> sources_;  ///< of the workers; the front owns them
  std::unique_ptr<getfile::Front> front_;
  daemon::Metrics::Registration registration_;
};

}  // namespace ds::ipc_proxy_cache
