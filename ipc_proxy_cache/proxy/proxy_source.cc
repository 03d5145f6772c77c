#include "ipc_proxy_cache/proxy/proxy_source.h"

#include <unistd.h>

#include <utility>
#include <vector>

namespace ds::ipc_proxy_cache {
namespace {

std::vector<std::string> SocketPaths(const ProxyOptions& options) {
  if (!options.cache_socket.empty()) return {options.cache_socket};
  return DefaultSocketPaths(options.runtime_dir, ::geteuid());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProxySource>> ProxySource::Create(net::EventLoop* loop,
                                                                 const ProxyOptions* options,
                                                                 SharedSegments* segments,
                                                                 std::string name) {
  ASSIGN_OR_RETURN(OriginUrl origin, OriginUrl::Parse(options->origin));
  ASSIGN_OR_RETURN(
      auto client,
      OriginClient::Create(loop, {.connect_timeout = FromSeconds(options->connect_timeout_s),
                                  .first_byte_timeout = FromSeconds(options->first_byte_timeout_s),
                                  .stall_timeout = FromSeconds(options->stall_timeout_s),
                                  .ca_file = options->ca_file}));
  return std::unique_ptr<ProxySource>(new ProxySource(loop, options, segments, std::move(name),
                                                      std::move(origin), std::move(client)));
}

ProxySource::ProxySource(net::EventLoop* loop, const ProxyOptions* options,
                         SharedSegments* segments, std::string name, OriginUrl origin,
                         std::unique_ptr<OriginClient> client)
    : origin_(std::move(origin)),
      client_(std::move(client)),
      access_{.client = client_.get(),
              .counters = &counters_,
              .collection = options->collection,
              .allowed = options->on_miss == OnMiss::kOrigin,
              .sendfile = options->sendfile},
      cache_(loop, &access_,
             {.socket_paths = SocketPaths(*options),
              .name = std::move(name),
              .trusted_uids = options->cache_uids},
             segments, options->segment_channel()) {}

std::variant<getfile::LookupResult, std::unique_ptr<getfile::PendingLookup>> ProxySource::Lookup(
    const getfile::Request& request, getfile::LookupSink* sink) {
  if (cache_.up()) {
    if (auto answer = cache_.LookupAgain(request)) return *std::move(answer);
  }
  std::string key = origin_.Of(request.path, request.query);
  if (cache_.up() && key.size() <= kKeyBytesMax) return cache_.Lookup(request, key, sink);
  if (!access_.allowed) return cache_.NotFound();
  return OriginBody::Ask(&access_, std::move(key), request.head, sink);
}

}  // namespace ds::ipc_proxy_cache
