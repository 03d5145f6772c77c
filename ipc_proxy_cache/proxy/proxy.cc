#include "ipc_proxy_cache/proxy/proxy.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <optional>

#include "common/net/socket.h"
#include "ipc_proxy_cache/proxy/proxy_source.h"

namespace ds::ipc_proxy_cache {

absl::StatusOr<daemon::Started> Proxy::Start(const ProxyOptions& options,
                                             const getfile::Front::Bind& bind,
                                             daemon::Metrics* metrics) {
  RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<Proxy> proxy(new Proxy(options));
  ASSIGN_OR_RETURN(proxy->segments_, SharedSegments::Create(options.geometry()));
  std::optional<absl::StatusOr<std::string>> cache;  // its socket, as the first worker sees it
  const auto make_source =
      [&, raw = proxy.get()](
          net::EventLoop* loop) -> absl::StatusOr<std::unique_ptr<getfile::ContentSource>> {
    ASSIGN_OR_RETURN(auto source,
                     ProxySource::Create(loop, &raw->options_, raw->segments_.get(),
                                         fmt::format("getfile-proxy {} worker-{}", ::getpid(),
                                                     raw->sources_.size())));
    raw->sources_.push_back(source.get());
    auto path = source->Start();
    if (!cache) cache = std::move(path);
    return source;
  };
  // A client that waits for the origin has a connection at either side.
  ASSIGN_OR_RETURN(
      proxy->front_,
      getfile::Front::Start(options.front, {.metrics_prefix = "getfile_proxy_",
                                            .descriptors_reserved = net::RaiseDescriptorLimit() / 2,
                                            .bind = bind,
                                            .make_source = make_source,
                                            .metrics = metrics}));
  proxy->registration_ =
      metrics->Register([raw = proxy.get()](daemon::MetricsPage& page) { raw->Collect(page); });
  daemon::Started started;
  started.listen = proxy->front_->listen();
  if (!cache->ok()) {
    spdlog::info("{}; serving from the origin until there is one", ds::Message(cache->status()));
  }
  started.keys.emplace_back("cache", cache->value_or("none"));
  started.service = std::move(proxy);
  return started;
}

void Proxy::Collect(daemon::MetricsPage& page) const {
  const auto sum = [&](auto&& of_worker) {
    double total = 0;
    for (const ProxySource* source : sources_) {
      total += static_cast<double>(of_worker(source->counters()));
    }
    return total;
  };
  for (std::size_t i = 0; i < kServedCount; ++i) {
    page.Count("getfile_proxy_served_total", "Answers by where they came from, as X-Cache says it.",
               sum([i](const ProxyCounters& counters) { return counters.served[i].Get(); }),
               {{"cache", kServedNames[i]}});
  }
  page.Count("getfile_proxy_origin_fetches_total", "Requests to the origin.",
             sum([](const ProxyCounters& counters) { return counters.origin_fetches.Get(); }));
  page.Count("getfile_proxy_origin_failures_total",
             "Of those, without an answer, or with one that broke off.",
             sum([](const ProxyCounters& counters) { return counters.origin_failures.Get(); }));
  page.Count("getfile_proxy_origin_bytes_total", "Body bytes received from the origin.",
             sum([](const ProxyCounters& counters) { return counters.origin_bytes.Get(); }));
  page.Count(
      "getfile_proxy_unknown_length_failures_total",
      "Answers of unknown length that were too long, or for which there was no room.",
      sum([](const ProxyCounters& counters) { return counters.unknown_length_failures.Get(); }));
  page.Count("getfile_proxy_links_broken_total", "Links ended by a malformed packet.",
             sum([](const ProxyCounters& counters) { return counters.links_broken.Get(); }));
  page.Gauge("getfile_proxy_links", "Workers that have a cache.",
             sum([](const ProxyCounters& counters) { return counters.linked.load() ? 1 : 0; }));
}

}  // namespace ds::ipc_proxy_cache
