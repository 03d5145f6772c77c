#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/net/event_loop.h"
#include "getfile/front/content_source.h"
#include "ipc_proxy_cache/proxy/copy_desk.h"
#include "ipc_proxy_cache/proxy/key_fetch.h"
#include "ipc_proxy_cache/proxy/known_names.h"
#include "ipc_proxy_cache/proxy/object_body.h"
#include "ipc_proxy_cache/proxy/origin_body.h"
#include "ipc_proxy_cache/proxy/proxy_link.h"
#include "ipc_proxy_cache/proxy/segment_desk.h"

namespace ds::ipc_proxy_cache {

/// What may be done now with an object that the index names.
enum class Usable { kNo, kFresh, kStale };

/// What a worker has of the cache: lookups in the index, and the keys that are being fetched.
/// Belongs to the worker's thread.
class CacheClient final : private ProxyLink::Owner,
                          private net::EventLoop::Timer,
                          private net::EventLoop::Watcher {
 public:
  using Answer = std::variant<getfile::LookupResult, std::unique_ptr<getfile::PendingLookup>>;

  /// All pointers must outlive it. What is not there is fetched if `access` allows that; else it is
  /// not found. `by_copies`: content of hits comes through segments.
  CacheClient(net::EventLoop* loop, const OriginAccess* access, ProxyLink::Options options,
              SharedSegments* segments, bool by_copies);
  ~CacheClient() override;

  /// As ProxyLink::Start().
  absl::StatusOr<std::string> Start() { return link_.Start(); }
  bool up() { return link_.view() != nullptr; }
  /// The answer, if this worker has given it before and it still holds: a hit without anything
  /// being made for it. REQUIRES: up().
  std::optional<getfile::LookupResult> LookupAgain(const getfile::Request& request);
  /// The answer to `request`, for an object with that key. REQUIRES: up().
  Answer Lookup(const getfile::Request& request, const std::string& key, getfile::LookupSink* sink);
  /// The answer where no origin is asked; counted.
  getfile::LookupResult NotFound();

  // For KeyFetch.
  net::EventLoop* loop() { return loop_; }
  const OriginAccess* access() { return access_; }
  ProxyLink& link() { return link_; }
  SegmentDesk& desk() { return desk_; }
  CopyDesk& copies() { return copies_; }
  bool by_copies() const { return by_copies_; }
  Usable UsableNow(const IndexEntry& entry) const;
  /// For clients to come, unless that is under way.
  void Revalidate(const std::string& key, const std::shared_ptr<const CachedObject>& object);
  void CountPassed(std::size_t requests) { hits_.passed += requests; }
  void CountCoalesced() { ++hits_.coalesced; }
  bool ask_origin() const { return access_->allowed; }
  /// An answer from `object`, or nothing if its record has no fields of ours. `body` may be shared
  /// by whoever is told at once.
  std::optional<getfile::LookupResult> AnswerFrom(const std::shared_ptr<const CachedObject>& object,
                                                  Served served, std::int64_t age_zero_ns,
                                                  std::shared_ptr<ObjectGrowth> growth);
  std::uint64_t NextRequest(KeyFetch* fetch);
  void Forget(std::uint64_t request) { by_request_.erase(request); }
  void AddFill(std::uint64_t fill, KeyFetch* fetch);
  void RemoveFill(std::uint64_t fill);
  /// Who asks for the key of `fill` from now on asks anew.
  void SetAside(std::uint64_t fill);
  void AwaitMemfd(std::uint64_t memfd, KeyFetch* fetch);
  /// Whether a further segment may be handed over now; else `fetch` is told by OnTaken().
  bool MayHandOver(KeyFetch* fetch);
  void NoteHandedOver() { ++handed_over_; }
  /// `fetch` is over; it is destroyed in a later call of the loop.
  void Drop(KeyFetch* fetch);
  static std::int64_t NowNs();

 private:
  void OnCacheMessage(const Message& message) override;
  void OnRetired() override;
  void OnOpened(std::uint64_t memfd, bool gone) override;
  void OnCacheGone() override;
  void OnTimer() override;
  void OnEvents(std::uint32_t events) override;

  /// An object as it was answered with, made ready for further answers.
  struct Answered {
    std::shared_ptr<const CachedObject> object;
    int code = 200;
    getfile::ContentFields fields;
    std::shared_ptr<getfile::Body> body;  ///< null where each client needs one of its own
  };
  /// What a name stands for while the index says the same.
  struct Known {
    KeyHash hash;
    IndexEntry entry;
    std::shared_ptr<const Answered> answered;
  };
  static constexpr std::size_t kKnownMax = 4096;
  static constexpr std::size_t kKnownBytesMax = 8U << 20U;

  Answer LookupKey(const getfile::Request& request, const std::string& key,
                   getfile::LookupSink* sink);
  std::shared_ptr<Answered> Prepare(const std::shared_ptr<const CachedObject>& object,
                                    std::shared_ptr<ObjectGrowth> growth);
  getfile::LookupResult AnswerWith(const Answered& answered, Served served,
                                   std::int64_t age_zero_ns);
  /// What is asked for, apart from how: the path, and the query behind a NUL.
  const std::string& NameOf(const getfile::Request& request);
  bool Waits() const { return !fetches_.empty() || !set_aside_.empty() || copies_.busy(); }
  void CountHit(const CachedObject& object, bool stale);
  void SendHits();
  KeyFetch* FetchOf(const std::string& key);

  net::EventLoop* const loop_;
  const OriginAccess* const access_;
  const bool by_copies_;
  SegmentDesk desk_;
  ProxyLink link_;
  CopyDesk copies_;
  KnownNames<Known> known_{kKnownMax, kKnownBytesMax};
  std::string name_;
  std::unordered_map<std::string, std::unique_ptr<KeyFetch>> fetches_;
  /// Purged while they were under way: they serve those who wait, and nobody else joins.
  std::unordered_map<KeyFetch*, std::unique_ptr<KeyFetch>> set_aside_;
  std::vector<std::unique_ptr<KeyFetch>> ended_;
  std::uint64_t last_request_ = 0;
  std::map<std::uint64_t, KeyFetch*> by_request_;
  std::map<std::uint64_t, KeyFetch*> by_fill_;
  std::multimap<std::uint64_t, KeyFetch*> by_memfd_;
  std::size_t handed_over_ = 0;  ///< segments that the cache has
  std::set<KeyFetch*> stalled_;
  Hits hits_;
  // What the last answer refers to.
  std::string answer_fields_;
  std::shared_ptr<const Answered> answered_;
};

}  // namespace ds::ipc_proxy_cache
