#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/sim/scheduler.h"
#include "udp_transfer/core/connection.h"

namespace ds::udp_transfer {

/// One end of a simulated connection: a Connection with a driver, as the shell has one, a seal that
/// is a checksum, and an application that writes and reads a stream whose bytes are a function of
/// their place. After each move it checks what must hold always. Owned by the test. Single
/// threaded.
class ConnectionEnd {
 public:
  struct Stream {
    std::uint64_t bytes = 0;  ///< in all, then the end
    std::uint64_t seed = 0;   ///< of the content
    /// So many may be moved by the application; all, unless a test says otherwise.
    std::uint64_t allowed = std::numeric_limits<std::uint64_t>::max();
  };
  using Send = std::function<void(std::span<const std::byte> datagram)>;

  static constexpr std::size_t kTagBytes = 8;

  /// `name` stands in traces. What it sends goes to `send`.
  ConnectionEnd(std::string name, sim::Scheduler& scheduler, const Connection::Options& options,
                const Stream& written, const Stream& read, Send send);

  /// Begins: moves what there is to move. Call it also after changing written() or read().
  void Pump();
  /// A datagram has come. Datagrams of one moment are handled in one batch.
  void Deliver(std::vector<std::byte> datagram);
  /// Closes when both streams are complete.
  void CloseWhenComplete() { close_when_complete_ = true; }

  Connection& connection() { return connection_; }
  Stream& written() { return written_; }
  Stream& read() { return read_; }
  /// Of the peer's stream, all found to be right.
  std::uint64_t bytes_read() const { return bytes_read_; }
  bool complete() const { return complete_; }
  /// When both streams were complete.
  TimePoint completed_at() const { return completed_at_; }
  std::uint64_t bad_tags() const { return bad_tags_; }

 private:
  void PumpSoon();
  void Write();
  void Read();
  void Transmit();
  void Arm();

  std::string name_;
  sim::Scheduler& scheduler_;
  Connection connection_;
  Connection::Options options_;
  Stream written_;
  Stream read_;
  Send send_;
  std::vector<std::byte> out_;
  std::optional<sim::Scheduler::EventId> pump_;
  std::optional<sim::Scheduler::EventId> timer_;
  std::uint64_t bytes_read_ = 0;
  std::uint64_t bad_tags_ = 0;
  bool close_when_complete_ = false;
  bool complete_ = false;
  TimePoint completed_at_;
};

/// Byte `offset` of a stream.
inline std::byte StreamByte(std::uint64_t seed, std::uint64_t offset) {
  return static_cast<std::byte>(((offset + seed) * 0x9e3779b97f4a7c15) >> 56U);
}

}  // namespace ds::udp_transfer
