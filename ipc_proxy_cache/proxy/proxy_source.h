#pragma once

#include <memory>
#include <string>

#include "common/net/event_loop.h"
#include "getfile/front/content_source.h"
#include "ipc_proxy_cache/proxy/cache_client.h"
#include "ipc_proxy_cache/proxy/counters.h"
#include "ipc_proxy_cache/proxy/options.h"
#include "ipc_proxy_cache/proxy/origin.h"
#include "ipc_proxy_cache/proxy/origin_body.h"
#include "ipc_proxy_cache/proxy/segment_desk.h"

namespace ds::ipc_proxy_cache {

/// Where a worker of getfile-proxy takes its bytes from: the cache if there is one, else the
/// origin. Belongs to the worker's thread, but for the counters.
class ProxySource final : public getfile::ContentSource {
 public:
  /// The pointers must outlive the source. `name`: for the cache's status.
  static absl::StatusOr<std::unique_ptr<ProxySource>> Create(net::EventLoop* loop,
                                                             const ProxyOptions* options,
                                                             SharedSegments* segments,
                                                             std::string name);
  /// Looks for a cache from now on; see ProxyLink::Start().
  absl::StatusOr<std::string> Start() { return cache_.Start(); }

  std::variant<getfile::LookupResult, std::unique_ptr<getfile::PendingLookup>> Lookup(
      const getfile::Request& request, getfile::LookupSink* sink) override;

  /// May be read by any thread.
  const ProxyCounters& counters() const { return counters_; }

 private:
  ProxySource(net::EventLoop* loop, const ProxyOptions* options, SharedSegments* segments,
              std::string name, OriginUrl origin, std::unique_ptr<OriginClient> client);

  const OriginUrl origin_;
  ProxyCounters counters_;
  const std::unique_ptr<OriginClient> client_;
  const OriginAccess access_;
  CacheClient cache_;
};

}  // namespace ds::ipc_proxy_cache
