#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <variant>

#include "getfile/core/server_connection.h"

namespace ds::getfile {

/// The bytes of one answer, wherever they live. Shared by the connections that send them.
class Body {
 public:
  enum class Outcome {
    kSent,          ///< `bytes` went out, and the socket may take more
    kSocketFull,    ///< `bytes` went out, and the socket takes no more now, or not much
    kSourceBroken,  ///< there are no bytes at this offset, though there should be
    kPeerGone,
  };
  struct Sent {
    Outcome outcome = Outcome::kSent;
    std::uint64_t bytes = 0;  ///< of head and body together
  };

  virtual ~Body() = default;
  /// Sends `head` and then body bytes from `offset` on, at most `bytes_max` of them, to a
  /// non-blocking socket. `hold`: more of this body or a shutdown follows, so a last segment that
  /// is not full may wait for it. REQUIRES: bytes_max > 0.
  virtual Sent Send(int socket, std::string_view head, std::uint64_t offset,
                    std::uint64_t bytes_max, bool hold) = 0;
};

struct LookupResult {
  LookupAnswer answer;
  std::shared_ptr<Body> body;  ///< set when the answer is kOk; keeps its fields alive
};

/// Who waits for a lookup.
class LookupSink {
 public:
  virtual void OnLookup(LookupResult result) = 0;

 protected:
  virtual ~LookupSink() = default;
};

/// A lookup under way; destroying it cancels it, and the sink is not called any more.
class PendingLookup {
 public:
  virtual ~PendingLookup() = default;
};

/// Where a server takes its bytes from. One per worker, used on the worker's thread only.
class ContentSource {
 public:
  virtual ~ContentSource() = default;
  /// The result, or, when it is not known at once, a lookup that will call `sink` from the worker's
  /// event loop. `request` is read during the call only.
  virtual std::variant<LookupResult, std::unique_ptr<PendingLookup>> Lookup(const Request& request,
                                                                            LookupSink* sink) = 0;
};

}  // namespace ds::getfile
