#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "common/base/unique_fd.h"
#include "common/net/endpoint.h"
#include "common/net/event_loop.h"
#include "getfile/core/server_connection.h"
#include "getfile/front/content_source.h"

namespace ds::getfile {

class Worker;

/// The shell of one connection: a socket, the ServerConnection that decides, and the body being
/// sent. Owned by its worker and used on the worker's thread only.
class Connection final : private net::EventLoop::Watcher,
                         private net::EventLoop::Timer,
                         private LookupSink,
                         private BodyWaiter {
 public:
  Connection(Worker* worker, UniqueFd socket, const net::Endpoint& peer, bool refuse);
  ~Connection() override;

  /// Does what can be done now: reads, looks up, sends, closes. May destroy the connection.
  void Advance();
  /// May destroy the connection.
  void BeginShutdown();
  /// Takes no more into the kernel than the floor until the peer makes progress (see SendBudget),
  /// and leaves the worker's list of blocked connections. REQUIRES: it is in that list.
  void Shrink();

  TimePoint blocked_time() const { return blocked_time_; }
  /// Asks the kernel what it still holds for this peer, and charges it to the budget.
  void MeasureQueue();

  // The worker's own notes.
  std::size_t index = 0;   ///< in its list of connections
  bool lingering = false;  ///< in its list of lingering connections
  TimePoint linger_begin;
  std::list<Connection*>::iterator linger_place;
  std::list<Connection*>::iterator charged_place;

 private:
  void OnEvents(std::uint32_t events) override;
  void OnTimer() override;
  void OnLookup(LookupResult result) override;
  void OnBodyGrown() override;

  bool Read();
  bool LookUp();
  bool AwaitSource();
  bool Send();
  void SetAllowance(std::uint64_t bytes);
  void Park();
  void GiveWay();
  void Unblock();

  Worker* const worker_;
  const UniqueFd socket_;
  const net::Endpoint peer_;
  ServerConnection core_;
  std::shared_ptr<Body> body_;
  std::unique_ptr<PendingLookup> pending_lookup_;

  bool in_loop_ = false;   ///< the socket is in the epoll set, edge triggered
  bool deferred_ = false;  ///< a turn was asked for with Defer()
  bool readable_ = true;   ///< until the kernel says EAGAIN
  bool writable_ = true;
  bool input_ending_ = false;     ///< the kernel has reported the peer's end of sending
  bool hung_up_ = false;          ///< the kernel has reported that both directions are closed
  bool draining_ = false;         ///< the sending side is shut down
  std::uint64_t turn_bytes_ = 0;  ///< sent in this turn

  // Send-buffer budget. 0: no allowance was needed yet.
  std::uint64_t allowance_ = 0;
  bool may_hold_ = true;                    ///< segments that are not full may be held back
  std::optional<TimePoint> hold_deadline_;  ///< one may be held back, and the socket is full
  std::uint64_t charged_ = 0;               ///< what the budget holds against this connection
  std::uint64_t sent_since_measured_ = 0;
  std::uint64_t sent_total_ = 0;
  TimePoint blocked_time_;
  bool no_delay_ = false;
  bool blocked_ = false;  ///< the socket was full, and the kernel has not asked for more since
  std::list<Connection*>::iterator blocked_place_;  ///< in the worker's list, or its end
};

}  // namespace ds::getfile
