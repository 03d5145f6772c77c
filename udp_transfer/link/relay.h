#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <thread>
#include <vector>

#include "common/base/counter.h"
#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "udp_transfer/link/link_model.h"

namespace ds::udp_transfer {

/// What became of the packets of one direction. Written by its relay, read by any thread.
struct alignas(64) DirectionCounters {
  Counter packets;        ///< that were sent into the link
  Counter bytes;          ///< of these
  Counter queue_dropped;  ///< the queue was full
  Counter lost;           ///< on the wire
  Counter corrupted;      ///< arrived with a flipped bit
  Counter duplicated;     ///< arrived twice: two deliveries
  Counter reordered;      ///< arrived late
  Counter delivered;      ///< packets that came out, copies included
  Counter delivered_bytes;
  Counter refused;          ///< due packets that the receiving kernel took for no IP packet
  Counter overflowed;       ///< more were under way than kHeldBytesMax: the emulator's own limit
  Counter late_us;          ///< sum over the deliveries: how long after they were due
  Counter late_us_max;      ///< only ever grows
  Counter queue_bytes_max;  ///< only ever grows
};

/// Carries the packets of one direction from one TUN device to another, on a thread of its own, as
/// a LinkModel says. Reads in batches; a packet stays in its buffer until it is due.
class Relay {
 public:
  static constexpr std::size_t kHeldBytesMax = 256U << 20U;

  /// The descriptors are non-blocking and stay open while the relay lives.
  static absl::StatusOr<std::unique_ptr<Relay>> Start(int from_fd, int to_fd, std::size_t mtu,
                                                      const LinkOptions& options,
                                                      std::uint64_t seed);
  /// Packets under way are forgotten.
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  const DirectionCounters& counters() const { return counters_; }

 private:
  using Buffer = std::uint32_t;
  struct Held {
    TimePoint due;
    std::uint64_t number = 0;  ///< keeps the order of packets that are due at one time
    Buffer buffer = 0;
    std::uint32_t bytes = 0;
    friend bool operator>(const Held& a, const Held& b) {
      return a.due != b.due ? a.due > b.due : a.number > b.number;
    }
  };

  Relay(int from_fd, int to_fd, std::size_t mtu, const LinkOptions& options, std::uint64_t seed,
        UniqueFd epoll, UniqueFd stop);
  void Run();
  /// Reads at most one batch; false: there was nothing left.
  bool ReadBatch();
  void Pass(Buffer buffer, std::size_t bytes, TimePoint now);
  void DeliverDue();
  void Write(const std::byte* packet, std::size_t bytes);
  /// Until there is something to read, something is due, or the end.
  void Wait(bool only_look);

  std::optional<Buffer> TakeBuffer();
  std::byte* At(Buffer buffer) { return buffers_[buffer].get(); }

  const int from_fd_;
  const int to_fd_;
  const std::size_t mtu_;
  LinkModel model_;
  const UniqueFd epoll_;
  const UniqueFd stop_;  ///< eventfd
  bool stopped_ = false;
  std::vector<std::unique_ptr<std::byte[]>> buffers_;
  std::vector<Buffer> free_;
  std::priority_queue<Held, std::vector<Held>, std::greater<>> held_;
  std::uint64_t next_number_ = 0;
  DirectionCounters counters_;
  std::jthread thread_;
};

}  // namespace ds::udp_transfer
