#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/net/event_loop.h"
#include "getfile/front/content_source.h"
#include "ipc_proxy_cache/core/cache_policy.h"
#include "ipc_proxy_cache/core/continuation.h"
#include "ipc_proxy_cache/core/messages.h"
#include "ipc_proxy_cache/proxy/collected_body.h"
#include "ipc_proxy_cache/proxy/copy_desk.h"
#include "ipc_proxy_cache/proxy/object_body.h"
#include "ipc_proxy_cache/proxy/origin.h"
#include "ipc_proxy_cache/proxy/origin_body.h"
#include "ipc_proxy_cache/proxy/proxy_link.h"
#include "ipc_proxy_cache/proxy/segment_desk.h"

namespace ds::ipc_proxy_cache {

class CacheClient;

/// One key that is not served from the index at once, and all clients of this worker who wait for
/// it: first for a memfd, then for somebody's fetch, or as the leader of one. Once the fill has
/// begun each client has an ObjectBody. Owned by the worker's CacheClient, which hands it the
/// cache's messages; ends itself there. Belongs to the worker's thread.
class KeyFetch final : private OriginSink,
                       private SegmentWaiter,
                       private CopyReceiver,
                       private net::EventLoop::Watcher {
 public:
  KeyFetch(CacheClient* owner, std::string key);
  ~KeyFetch() override;

  const std::string& key() const { return key_; }

  /// A client more: an answer at once if the fill has begun, else it waits.
  std::variant<getfile::LookupResult, std::unique_ptr<getfile::PendingLookup>> Join(
      bool head, getfile::LookupSink* sink);
  /// Asks for the memfd that the index names, or for a copy of the record in it, and looks again.
  void AwaitMemfd(std::uint64_t memfd, std::uint64_t record_offset);
  /// Asks who fetches. `stale`: what this worker has of it.
  void AskCache(std::shared_ptr<const CachedObject> stale);

  // What the cache says.
  void OnOpened(bool gone);
  void OnAnswer(const Message& message);  ///< to WANT
  void OnFillMessage(const Message& message);
  void OnTaken();
  void OnCacheGone();
  /// When no client is left: somebody else may lead.
  void LeaveIfAbandoned();

 private:
  class Client;
  enum class State {
    kNew,
    kAwaitingMemfd,
    kAsking,  ///< WANT was sent
    kLeading,
    kFollowing,
    kPassing,  ///< collects for its own clients what has turned out too large for the cache
    kOver,
  };
  /// What the leader does with the bytes that come.
  enum class Fetching {
    kNothing,
    kHead,        ///< no head yet
    kDiscarding,  ///< no content: tells at its end
    kCollecting,  ///< unknown length, or small: told when it is whole
    kStreaming,   ///< by DATA, once the cache has made room (BEGUN)
  };

  // The leader's fetch.
  void OnHead(const OriginHead& head) override;
  bool OnBody(std::string_view bytes) override;
  void OnEnd(absl::Status status) override;
  void OnSegmentFree() override { Pump(); }
  // The copy of a record.
  void TakeCopied(std::uint64_t offset, std::span<const std::byte> bytes) override;
  void OnCopied() override;
  void OnCopyFailed() override;
  /// Deferred: bytes came, or a client has left.
  void OnEvents(std::uint32_t events) override;

  void BeginFetch(std::vector<std::string> fields);
  void Follow(std::uint64_t fill, std::uint64_t term);
  void ContinueAt(std::uint64_t offset);
  void HandleNotModified(const OriginHead& head, const OriginAnswer& answer);
  void HandleContent(const OriginHead& head, const OriginAnswer& answer);
  void HandleNegative(const OriginHead& head, const OriginAnswer& answer);
  void HandleCollected();
  void SendEnd(Outcome outcome, const Freshness& freshness = {}, std::string fields = {});
  /// Of the answer no more is used.
  void BreakOff(int http_code);
  void SendBegin(std::uint64_t length);
  void Pump();
  /// A segment with the body's next bytes, or nothing if there is none now.
  std::optional<Segment> FillSegment();
  std::uint64_t bytes_come() const;

  // Answers.
  void HandleEnded(const Ended& ended);
  void HandleBegun(const Begun& begun);
  void Resolve(const Place& place);
  void LookAgain();
  bool MayAsk() const;
  void Serve(const std::shared_ptr<const CachedObject>& object, const IndexEntry& entry);
  void ServeFailure();
  bool ServeStale();
  /// Each client fetches for itself; the first with the fetch of which `head` has come just now.
  void PassOn(const OriginHead* head = nullptr);
  /// What was collected is all of it, and the cache has no part in it.
  void ServeCollected();
  void Tell(Client* client, const getfile::LookupResult& result);
  void TellAll(getfile::LookupAnswer answer, const std::shared_ptr<getfile::Body>& body);
  void Schedule();
  void Finish();
  Served NextLabel();

  CacheClient* const owner_;
  const std::string key_;
  State state_ = State::kNew;
  std::list<Client*> clients_;
  bool had_clients_ = false;  ///< none: revalidated for those to come
  bool labelled_ = false;     ///< the client for whom it is fetched was told
  Served label_ = Served::kHit;
  bool passed_by_cache_ = false;
  int attempts_ = 0;
  bool scheduled_ = false;
  std::uint64_t fill_ = 0;
  std::uint64_t term_ = 0;
  std::optional<Place> place_;
  std::uint64_t copied_memfd_ = 0;  ///< where the record lies that is copied
  std::uint64_t copied_offset_ = 0;
  std::vector<std::byte> record_;               ///< what of it has come
  std::shared_ptr<const CachedObject> copied_;  ///< so that looking again finds it
  std::shared_ptr<const CachedObject> stale_;

  Fetching fetching_ = Fetching::kNothing;
  bool conditional_ = false;
  std::optional<Continuation> continuation_;  ///< if what is fetched is a rest
  std::int64_t asked_unix_s_ = 0;
  int failure_code_ = 502;  ///< for clients, should the fetch fail
  int negative_code_ = 0;   ///< 404, 403, 410, if that is the answer
  Freshness freshness_;
  std::string fields_;  ///< encoded, of the record
  std::uint64_t discarded_ = 0;
  std::uint64_t length_ = 0;  ///< of the body
  std::uint64_t sent_ = 0;    ///< of it, to the cache
  std::string stage_;         ///< came after that
  std::shared_ptr<CollectedBody> collected_;
  bool origin_done_ = false;
  bool paused_ = false;
  bool ended_ = false;                          ///< END or INSERT was sent
  std::shared_ptr<const CachedObject> object_;  ///< that is filled
  std::shared_ptr<ObjectGrowth> growth_;
  std::unique_ptr<OriginFetch> fetch_;
};

}  // namespace ds::ipc_proxy_cache
