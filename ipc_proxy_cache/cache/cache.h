#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/counter.h"
#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "ipc_proxy_cache/cache/options.h"
#include "ipc_proxy_cache/cache/peer_link.h"
#include "ipc_proxy_cache/core/fill_table.h"
#include "ipc_proxy_cache/core/log_limit.h"
#include "ipc_proxy_cache/core/tiny_lfu.h"
#include "ipc_proxy_cache/link/socket_path.h"
#include "ipc_proxy_cache/shm/evicting_store.h"

namespace ds::ipc_proxy_cache {

/// What the cache has done and has, for the metrics page and the status. Written by the cache's
/// thread, read by any.
struct CacheCounters {
  Counter hits, misses, coalesced, stale, passed, bytes_saved;
  Counter links_made, links_refused, links_overrun, malformed, promoted;
  // Of the present moment.
  std::atomic<std::uint64_t> evicted{0}, objects{0}, bytes{0}, retired_bytes{0}, links{0}, fills{0};
};

/// The cache: links, and behind them the fill table (who fetches what), and the store (what is
/// there). It tells the first what messages say, does what that lists, and keeps the second in
/// step. Belongs to the thread of its loop. A link is never waited for: what it does not read is
/// queued up to a bound, beyond which it is ended.
class Cache final : private net::EventLoop::Watcher,
                    private net::EventLoop::Timer,
                    private PeerLink::Owner {
 public:
  /// REQUIRES: `options` are valid; `loop` outlives the cache.
  static absl::StatusOr<std::unique_ptr<Cache>> Create(const CacheOptions& options,
                                                       net::EventLoop* loop);
  ~Cache() override;

  /// Accepts links there from now on.
  absl::Status Listen(LinkListener listener);
  /// No further links, and no further fills: misses are told to fetch for themselves.
  void BeginDrain();
  /// Fills that are under way.
  std::size_t fills() const { return fill_table_.fills(); }

  /// Takes over a connected socket, if its peer may be a link.
  void AddLink(UniqueFd socket);

  /// Keeps an object for good under a path of its own, which counts for every origin. False: there
  /// is no room for it.
  bool Pin(std::string_view path, std::string_view fields, std::span<const std::byte> body);
  /// Drops what was pinned under other paths than these.
  void KeepPinned(const std::set<std::string>& paths);

  const CacheCounters& counters() const { return counters_; }

 private:
  /// A fill under way, beside what the table knows.
  struct Fill {
    std::string key;
    std::uint64_t leader = 0;
    std::uint64_t term = 0;
    std::optional<std::uint64_t> memfd;  ///< once it has begun
    ObjectTimes times{};
    std::string negative_fields;
    bool stale_at_once = false;             ///< purged softly
    Outcome found = Outcome::kNotModified;  ///< what FillEnd::kFound means
  };
  struct Closed {
    Outcome outcome;
    std::optional<Place> place;
  };
  struct DelayedWant {
    TimePoint due;
    std::uint64_t link;
    Want want;
  };

  Cache(const CacheOptions& options, net::EventLoop* loop, Store store, TinyLfu policy);

  // Events.
  void OnEvents(std::uint32_t events) override;
  void OnTimer() override;
  void OnMessage(PeerLink& link, Message message, UniqueFd descriptor) override;
  void OnLinkEnd(PeerLink& link, const absl::Status& why) override;
  /// At the end of each event: carries out what it led to.
  void Finish();

  // Messages.
  void Handle(PeerLink& link, Hello& message, UniqueFd descriptor);
  void Handle(PeerLink& link, Want& message);
  void Handle(PeerLink& link, Begin& message);
  void Handle(PeerLink& link, Insert& message);
  void Handle(PeerLink& link, Data& message);
  void Handle(PeerLink& link, Read& message);
  void Handle(PeerLink& link, End& message);
  void Handle(PeerLink& link, Alive& message);
  void Handle(PeerLink& link, Leave& message);
  void Handle(PeerLink& link, Open& message);
  void Handle(PeerLink& link, Released& message);
  void Handle(PeerLink& link, Hits& message);
  void Handle(PeerLink& link, Copy& message);
  void Handle(PeerLink& link, Purge& message);
  void Handle(PeerLink& link, Status& message);
  void AnswerWant(PeerLink& link, const Want& want);
  void InsertForFollowers(const Insert& message, LinkId link, std::span<const std::byte> body);
  /// What leads to `kNotModified`: the object goes on with new times.
  void Revalidate(const Fill& fill, const End& message);

  // What the fill table lists.
  void Do(const fill_action::Found& action);
  void Do(const fill_action::Pass& action);
  void Do(const fill_action::Lead& action);
  void Do(const fill_action::Follow& action);
  void Do(const fill_action::Begun& action);
  void Do(const fill_action::Progress& action);
  void Do(const fill_action::Promoted& action);
  void Do(const fill_action::Demoted& action);
  void Do(const fill_action::Ended& action);
  void Do(const fill_action::CloseFill& action);
  void Do(const fill_action::EndLink& action);

  void Accept();
  /// Logs a warning of a kind of which peers could cause any number.
  void Warn(LogLimit& limit, std::string_view what);
  void EndLink(PeerLink& link, std::string_view reason);
  PeerLink* Find(LinkId link);
  void SendTo(LinkId link, const Message& message, int descriptor = -1);
  /// Copies what a link has in a segment. Ends the link (nullopt) if there is no such segment;
  /// false: it was not the link's to give.
  std::optional<bool> CopyFrom(PeerLink& link, const Segment& segment,
                               std::span<std::byte> content);
  ObjectTimes TimesOf(const Freshness& freshness, bool negative) const;
  std::optional<IndexEntry> FindKey(std::string_view key) const;
  std::optional<Place> PlaceOf(std::string_view key) const;
  std::uint64_t PurgeMatching(std::string_view pattern, bool prefix, bool soft);
  std::int64_t now_ns() const;
  void ArmTimer();
  void UpdateGauges();

  const CacheOptions options_;
  net::EventLoop* const loop_;
  FillTable fill_table_;
  EvictingStore<TinyLfu> store_;
  std::map<FillId, Fill> fills_;
  std::map<FillId, Closed> closed_;  ///< while the actions of one event are done
  std::map<std::uint64_t, std::unique_ptr<PeerLink>> links_;
  std::vector<std::unique_ptr<PeerLink>> ended_links_;  ///< their calls may be under way
  std::uint64_t last_link_ = 0;
  std::deque<DelayedWant> delayed_;  ///< of links that are there; at most kDelayedMax
  std::set<std::string> pinned_;
  std::optional<LinkListener> listener_;
  std::optional<TimePoint> accept_again_;  ///< there were no descriptors left
  LogLimit accept_warnings_;
  LogLimit refused_warnings_;
  LogLimit ended_warnings_;
  bool draining_ = false;
  bool deferred_ = false;
  CacheCounters counters_;
};

}  // namespace ds::ipc_proxy_cache
