#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "common/base/counter.h"
#include "common/base/time.h"
#include "common/daemon/metrics.h"
#include "common/net/event_loop.h"
#include "common/net/work_pool.h"
#include "udp_transfer/core/classic_server.h"
#include "udp_transfer/net/datagram_port.h"
#include "udp_transfer/server/log_limit.h"
#include "udp_transfer/server/partial_store.h"

namespace ds::udp_transfer {

/// Executes what the core's ClassicServer says: files are written by the pool, answers sent when
/// the disk has them. Belongs to the loop's thread, but for Collect().
class ClassicService final : net::EventLoop::Timer {
 public:
  /// `loop`, `pool` and `store` must outlive the service, and so must the ports that give it
  /// datagrams.
  ClassicService(const ClassicServer::Options& options, PartialStore* store, net::EventLoop* loop,
                 net::WorkPool* pool);
  /// REQUIRES: the pool's threads have ended.
  ~ClassicService() override;

  void HandleDatagram(DatagramPort& port, std::span<const std::byte> datagram, const Path& path,
                      TimePoint now);
  /// A valid hello. Whether it is to be answered by a cookie.
  bool HandleHello(DatagramPort& port, const Path& path);
  /// A fast connection from there has opened.
  void DropSession(DatagramPort& port, const Path& path);

  /// Takes no new session from now on.
  void BeginShutdown() { core_.BeginShutdown(); }
  /// No session is unfinished, and the disk has done all work.
  bool idle() const { return files_.empty(); }
  /// Called whenever idle() may have become true.
  void SetIdleCallback(std::function<void()> callback) { on_idle_ = std::move(callback); }
  void DiscardAll();

  /// Thread-safe.
  void Collect(daemon::MetricsPage& page) const;

 private:
  class File;

  void OnTimer() override;
  void Execute(ClassicServer::Effects effects, DatagramPort* port, const Path& path);
  void Log(const ClassicServer::Refused& refused);
  void OnFileDone(File* file);
  void Publish();

  PartialStore* const store_;
  net::EventLoop* const loop_;
  net::WorkPool* const pool_;
  ClassicServer core_;
  std::map<ClassicSession, std::unique_ptr<File>> files_;  ///< of unfinished sessions
  std::vector<File*> to_submit_;
  LogLimit log_limit_;
  std::function<void()> on_idle_;

  // What the core has counted, for other threads.
  struct alignas(64) Published {
    Counter malformed, without_session, started, finished, duplicates, not_taken, starts_ignored,
        bytes_taken;
    std::array<Counter, ClassicServer::kRefusalReasons> refused;
    std::array<Counter, 5> discarded;
    std::atomic<std::uint64_t> unfinished{0};
  } published_;
};

}  // namespace ds::udp_transfer
