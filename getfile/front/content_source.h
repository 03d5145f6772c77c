#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <variant>

#include "getfile/core/server_connection.h"

namespace ds::getfile {

/// Who waits for a body to grow: an entry in the body's list, at most one at a time.
class BodyWaiter {
 public:
  BodyWaiter() = default;
  BodyWaiter(const BodyWaiter&) = delete;
  BodyWaiter& operator=(const BodyWaiter&) = delete;

  /// Called once, within the body's Wait() or later, from anything that runs on the worker's loop.
  /// Takes note and returns: the body and its source may be in the middle of something.
  virtual void OnBodyGrown() = 0;

  /// Leaves the list, if it is in one.
  void StopWaiting();
  bool waiting() const { return next_ != nullptr; }

 protected:
  virtual ~BodyWaiter() { StopWaiting(); }

 private:
  friend class BodyWaiters;
  std::uint64_t offset_ = 0;
  BodyWaiter* previous_ = nullptr;  ///< a ring, closed by the list itself
  BodyWaiter* next_ = nullptr;
};

/// The list that a growing body keeps. Nothing is allocated; the waiters' ends and the list's may
/// come in any order.
class BodyWaiters final {
 public:
  BodyWaiters();
  ~BodyWaiters();
  BodyWaiters(const BodyWaiters&) = delete;
  BodyWaiters& operator=(const BodyWaiters&) = delete;

  /// Wakes `waiter` once the byte at `offset` is there. REQUIRES: it does not wait yet.
  void Add(BodyWaiter* waiter, std::uint64_t offset);
  /// The bytes below `bytes_there` are there: wakes who waits for one of them, in the order in
  /// which they came. When the body is broken or over: UINT64_MAX.
  void Wake(std::uint64_t bytes_there);
  bool empty() const { return ring_.next_ == &ring_; }

 private:
  class Ring final : public BodyWaiter {
    void OnBodyGrown() override {}
  };
  Ring ring_;
};

/// The bytes of one answer, wherever they live. Shared by the connections that send them.
class Body {
 public:
  enum class Outcome {
    kSent,          ///< `bytes` went out, and the socket may take more
    kSocketFull,    ///< `bytes` went out, and the socket takes no more now, or not much
    kNotYet,        ///< `bytes` went out, not all that were asked for: the next are not there yet
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
  /// is not full may wait for it; after kNotYet the connection sends what was held back.
  /// REQUIRES: bytes_max > 0.
  virtual Sent Send(int socket, std::string_view head, std::uint64_t offset,
                    std::uint64_t bytes_max, bool hold) = 0;
  /// After kNotYet: has `waiter` woken once the byte at `offset` is there, or it is known that it
  /// never will be. A body that is always whole need not have this.
  virtual void Wait(BodyWaiter* waiter, std::uint64_t offset);
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

/// Where the front takes its bytes from. One per worker, used on the worker's thread only; made
/// with the worker's event loop, which is there for timers and descriptors of its own, and for
/// answering later. Destroyed after the connections and before the loop.
class ContentSource {
 public:
  virtual ~ContentSource() = default;
  /// The result, or, when it is not known at once, a lookup that will call `sink` from the worker's
  /// event loop, not from within this call. `request` is read during the call only. What the answer
  /// refers to must last until Lookup() or OnLookup() has returned; the sink's next Lookup() may
  /// come within OnLookup(). A lookup or a body whose peer has gone is destroyed, which is how a
  /// source learns that nobody waits any more. Gone is who has reset the connection: a peer that
  /// has ended its side only may be waiting, and shows which it is when bytes are sent.
  virtual std::variant<LookupResult, std::unique_ptr<PendingLookup>> Lookup(const Request& request,
                                                                            LookupSink* sink) = 0;
  /// The program ends: answers under way are finished until `deadline`, and requests that have come
  /// are still looked up; nobody comes who is not connected yet. Called once at most, on the
  /// worker's thread; the source says its farewells here, since its destructor runs when the loop
  /// does not run any more.
  virtual void BeginShutdown(TimePoint /*deadline*/) {}
};

}  // namespace ds::getfile
