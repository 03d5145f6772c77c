#pragma once

#include <memory>
#include <string>

#include "common/net/event_loop.h"
#include "getfile/front/content_source.h"
#include "ipc_proxy_cache/proxy/counters.h"
#include "ipc_proxy_cache/proxy/options.h"
#include "ipc_proxy_cache/proxy/origin.h"
#include "ipc_proxy_cache/proxy/origin_body.h"

namespace ds::ipc_proxy_cache {

/// Where a worker of getfile-proxy takes its bytes from: the origin. Belongs to the worker's
/// thread, but for the counters.
class ProxySource final : public getfile::ContentSource {
 public:
  /// `loop` and `options` must outlive the source.
  static absl::StatusOr<std::unique_ptr<ProxySource>> Create(net::EventLoop* loop,
                                                             const ProxyOptions* options);

  std::variant<getfile::LookupResult, std::unique_ptr<getfile::PendingLookup>> Lookup(
      const getfile::Request& request, getfile::LookupSink* sink) override;

  /// May be read by any thread.
  const ProxyCounters& counters() const { return counters_; }

 private:
  ProxySource(const ProxyOptions* options, OriginUrl origin, std::unique_ptr<OriginClient> client);

  const ProxyOptions* const options_;
  const OriginUrl origin_;
  ProxyCounters counters_;
  const std::unique_ptr<OriginClient> client_;
  const OriginAccess access_;
};

}  // namespace ds::ipc_proxy_cache
