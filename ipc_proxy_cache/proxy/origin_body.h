#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "getfile/front/content_source.h"
#include "ipc_proxy_cache/core/continuation.h"
#include "ipc_proxy_cache/proxy/collected_body.h"
#include "ipc_proxy_cache/proxy/counters.h"
#include "ipc_proxy_cache/proxy/origin.h"
#include "ipc_proxy_cache/shm/reader_view.h"

namespace ds::ipc_proxy_cache {

/// What fetches of one worker have in common. Outlives them.
struct OriginAccess {
  OriginClient* client = nullptr;
  ProxyCounters* counters = nullptr;
  CollectionLimits collection;
  bool allowed = true;    ///< --on-miss origin; else nothing is ever asked for
  bool sendfile = false;  ///< large bodies of the cache; else they are copied
};

/// CollectedBody::Append() for the answer to `url`: a failure is counted and logged.
absl::Status Collect(const OriginAccess& access, std::string_view url, std::string_view bytes,
                     CollectedBody* collected);

/// The answer to one request straight from the origin, for one client: first a lookup, then a body
/// of which some 256 KiB are kept, and the origin waits while the client takes no more. An answer
/// without a length is collected first. Shared by the lookup and the connection; a fetch that both
/// have left is given up. Belongs to the worker's thread.
class OriginBody final : public getfile::Body,
                         private OriginSink,
                         public std::enable_shared_from_this<OriginBody> {
 public:
  /// Asks for `url`. The result may call `sink` until it is destroyed.
  static std::unique_ptr<getfile::PendingLookup> Ask(const OriginAccess* access, std::string url,
                                                     bool head, getfile::LookupSink* sink);
  /// Goes on with a fetch of `url` of which `head` has come just now, and nothing else. Sets
  /// `pending` and then may call `sink` at once.
  static void Adopt(const OriginAccess* access, std::string url, std::unique_ptr<OriginFetch> fetch,
                    const OriginHead& head, getfile::LookupSink* sink,
                    std::unique_ptr<getfile::PendingLookup>* pending);
  /// The rest of an object, from `first` on, that others have begun to get: bytes come only if it
  /// is the same version still, else the body is broken there. Null if no origin can be asked, or
  /// none may be.
  static std::shared_ptr<OriginBody> Continue(const OriginAccess* access,
                                              const CachedObject& object, std::uint64_t first);

  Sent Send(int socket, std::string_view head, std::uint64_t offset, std::uint64_t bytes_max,
            bool hold) override;
  void Wait(getfile::BodyWaiter* waiter, std::uint64_t offset) override;

 private:
  class Pending;
  enum class State {
    kAsking,      ///< no head yet
    kDiscarding,  ///< an answer that is no content: its end is waited for, and then told
    kCollecting,  ///< content of unknown length
    kStreaming,
    kOver,  ///< nothing more comes
  };

  OriginBody(const OriginAccess* access, OriginRequest request, getfile::LookupSink* sink)
      : access_(access), request_(std::move(request)), sink_(sink) {}
  void Begin();
  void OnHead(const OriginHead& head) override;
  bool OnBody(std::string_view bytes) override;
  void OnEnd(absl::Status status) override;
  void Tell(getfile::LookupAnswer answer, std::shared_ptr<getfile::Body> body);
  void TellFailure(int http_code);
  void TellFound(std::uint64_t length, std::shared_ptr<getfile::Body> body);
  void Break();
  void AdvanceTo(std::uint64_t offset);
  std::uint64_t buffered() const { return buffer_.size() - buffer_begin_; }

  const OriginAccess* const access_;
  OriginRequest request_;
  getfile::LookupSink* sink_;
  std::optional<Continuation> continuation_;  ///< if this is a rest
  State state_ = State::kAsking;
  int code_ = 0;
  std::uint64_t discarded_ = 0;
  getfile::ContentFields fields_;
  std::string answer_fields_;  ///< of this one answer: X-Cache, Age
  std::shared_ptr<CollectedBody> collected_;
  std::uint64_t position_ = 0;  ///< in the body: where the buffer begins
  std::uint64_t wanted_ = 0;    ///< what comes before it is of no use
  std::string buffer_;
  std::size_t buffer_begin_ = 0;
  bool paused_ = false;
  getfile::BodyWaiters waiters_;
  std::unique_ptr<OriginFetch> fetch_;
};

/// The HTTP code for clients when the origin cannot be asked: 504 for a time limit, else 502.
int GatewayCode(const absl::Status& status);

}  // namespace ds::ipc_proxy_cache
