#include "ipc_proxy_cache/cache/service.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <future>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "common/net/socket.h"
#include "ipc_proxy_cache/cache/content.h"

namespace ds::ipc_proxy_cache {

absl::StatusOr<daemon::Started> CacheService::Start(const CacheOptions& options,
                                                    daemon::Metrics* metrics) {
  RETURN_IF_ERROR(options.Validate());
  net::RaiseDescriptorLimit();  // memfds and links are open files
  ASSIGN_OR_RETURN(auto loop, net::EventLoop::Create());
  std::unique_ptr<CacheService> service(new CacheService(options, std::move(loop)));
  ASSIGN_OR_RETURN(service->cache_, Cache::Create(options, service->loop_.get()));
  RETURN_IF_ERROR(service->Preload(/*running=*/false));
  ASSIGN_OR_RETURN(LinkListener listener,
                   LinkListener::Listen(options.sockets, !options.allowed_uids.empty()));
  const std::string path = listener.path();
  RETURN_IF_ERROR(service->cache_->Listen(std::move(listener)));
  service->registration_ =
      metrics->Register([self = service.get()](daemon::MetricsPage& page) { self->Collect(page); });
  service->thread_ = std::jthread([loop = service->loop_.get()] { loop->Run(); });
  daemon::Started started{.service = std::move(service), .listen = {}, .keys = {{"cache", path}}};
  started.listen_paths.push_back(path);
  return started;
}

CacheService::CacheService(CacheOptions options, std::unique_ptr<net::EventLoop> loop)
    : options_(std::move(options)), loop_(std::move(loop)) {}

CacheService::~CacheService() {
  registration_ = {};
  loop_->Stop();
  if (thread_.joinable()) thread_.join();
}

void CacheService::Call(const std::function<void()>& task) {
  std::promise<void> done;
  loop_->Post([&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

absl::Status CacheService::Preload(bool running) {
  if (options_.content_file.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<PinnedFile> files,
                   ReadContentFile(options_.content_file, options_.ObjectMax()));
  std::set<std::string> paths;
  for (const PinnedFile& file : files) paths.insert(file.path);
  const auto on_thread = [&](const std::function<void()>& task) {
    if (running) {
      Call(task);
    } else {
      task();
    }
  };
  on_thread([&] { cache_->KeepPinned(paths); });
  for (const PinnedFile& file : files) {
    ASSIGN_OR_RETURN(const PinnedContent content, ReadPinned(file, options_.ObjectMax()));
    bool kept = false;
    on_thread([&] {
      kept = cache_->Pin(file.path, content.fields, std::as_bytes(std::span(content.body)));
    });
    if (!kept) {
      return InvalidArgument(fmt::format("content file \"{}\": no room for \"{}\" (see --memory)",
                                         options_.content_file, file.file));
    }
  }
  spdlog::info("{} pinned objects", files.size());
  return absl::OkStatus();
}

void CacheService::Reload() {
  if (options_.content_file.empty()) return;
  if (const absl::Status status = Preload(/*running=*/true); !status.ok()) {
    spdlog::error("reload: {}", ds::Message(status));
  }
}

void CacheService::Drain(TimePoint deadline) {
  Call([&] { cache_->BeginDrain(); });
  for (;;) {
    std::size_t fills = 0;
    Call([&] { fills = cache_->fills(); });
    if (fills == 0 || std::chrono::steady_clock::now() >= deadline) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void CacheService::Collect(daemon::MetricsPage& page) const {
  const CacheCounters& counters = cache_->counters();
  const auto count = [&](const char* name, const char* help, std::uint64_t value) {
    page.Count(std::string("getfile_cached_") + name, help, static_cast<double>(value));
  };
  const auto gauge = [&](const char* name, const char* help, std::uint64_t value) {
    page.Gauge(std::string("getfile_cached_") + name, help, static_cast<double>(value));
  };
  count("hits_total", "Requests served from the cache, as far as told", counters.hits.Get());
  count("misses_total", "Requests for what was not there, or not fresh", counters.misses.Get());
  count("coalesced_total", "Misses that joined a fetch under way", counters.coalesced.Get());
  count("stale_total", "Requests served with what was stale", counters.stale.Get());
  count("passed_total", "Requests that went past the cache", counters.passed.Get());
  count("evicted_total", "Objects that made room for others", counters.evicted);
  count("saved_bytes_total", "Bytes not fetched from origins", counters.bytes_saved.Get());
  count("promotions_total", "Fetches continued by another link", counters.promoted.Get());
  count("links_total", "Links accepted", counters.links_made.Get());
  count("links_refused_total", "Links refused, as of other users", counters.links_refused.Get());
  count("links_overrun_total", "Links ended since they did not read", counters.links_overrun.Get());
  count("malformed_packets_total", "Packets that ended their links", counters.malformed.Get());
  gauge("objects", "Objects in the index", counters.objects);
  gauge("memory_bytes", "Live memory, index included", counters.bytes);
  gauge("memory_limit_bytes", "--memory", options_.memory_bytes);
  gauge("retired_bytes", "Memory dropped by the cache that links still hold",
        counters.retired_bytes);
  gauge("links", "Links now", counters.links);
  gauge("fills", "Fetches under way", counters.fills);
}

}  // namespace ds::ipc_proxy_cache
