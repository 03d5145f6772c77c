#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "tests/harness/deadline.h"

namespace ds::udp_transfer {

/// Whether it is a packet of the fast mode after the handshake, by its first byte.
inline bool IsPacket(const std::string& datagram) {
  const auto type = static_cast<unsigned char>(datagram.empty() ? 0 : datagram[0]);
  return type == 0x90 || type == 0xA0;
}

/// A server on 127.0.0.1 that clients take for the real one: it passes datagrams on, as a rule
/// says. Each client has a port of its own towards the server. Thread-safe.
class UdpProxy {
 public:
  enum class Way { kToServer, kToClient };
  /// What is to arrive in place of a datagram: itself, nothing, something else, or more. Called by
  /// the proxy's thread.
  using Rule = std::function<std::vector<std::string>(Way way, const std::string& datagram)>;

  static std::vector<std::string> PassOn(Way /*way*/, const std::string& datagram) {
    return {datagram};
  }

  explicit UdpProxy(std::uint16_t server_port, Rule rule = PassOn);
  ~UdpProxy();
  UdpProxy(const UdpProxy&) = delete;
  UdpProxy& operator=(const UdpProxy&) = delete;

  std::uint16_t port() const { return port_; }
  void SetRule(Rule rule);
  /// Passes on to another server from now on.
  void SetServer(std::uint16_t server_port);
  /// From now on the server sees every client come from a new port.
  void ChangeAddresses();
  /// What clients send behind so many bytes in all is lost, until there is room for more. The way
  /// back stays open.
  void PassNoMoreThan(std::size_t bytes);
  void PassAgain() { PassNoMoreThan(std::numeric_limits<std::size_t>::max()); }
  /// How many datagrams have come.
  std::size_t count(Way way) const;
  std::size_t bytes(Way way) const;

 private:
  void Serve();

  UniqueFd downstream_;
  std::uint16_t port_ = 0;
  const UniqueFd wake_up_;  ///< eventfd
  mutable std::mutex mutex_;
  bool ended_ = false;  // guarded by mutex_, as all below
  std::uint16_t server_port_;
  Rule rule_;
  std::map<std::uint16_t, UniqueFd> upstreams_;  // by the client's port
  std::size_t pass_bytes_max_ = std::numeric_limits<std::size_t>::max();
  std::size_t passed_bytes_ = 0;  // to the server
  std::size_t counts_[2] = {0, 0};
  std::size_t bytes_[2] = {0, 0};
  std::jthread thread_;
};

/// Damages one bit, counted from the first byte's lowest.
inline void FlipBit(std::string* datagram, std::size_t bit) {
  char& byte = (*datagram)[bit / 8];
  byte = static_cast<char>(static_cast<unsigned char>(byte) ^ (1U << (bit % 8)));
}

}  // namespace ds::udp_transfer
