#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace ds::net {

/// HOST and PORT as a user writes them: "127.0.0.1:80", "[::1]:80", "localhost:80". A value.
struct HostPort {
  std::string host;  ///< without brackets; never empty
  std::uint16_t port = 0;

  static absl::StatusOr<HostPort> Parse(std::string_view text);
  std::string ToString() const;
};

/// An IPv4 or IPv6 socket address. A value.
class Endpoint {
 public:
  Endpoint() = default;
  Endpoint(const sockaddr* address, socklen_t length);

  /// Every address of a name; numeric hosts ask no resolver.
  static absl::StatusOr<std::vector<Endpoint>> Resolve(const HostPort& host_port);

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t length() const { return length_; }
  int family() const { return storage_.ss_family; }
  std::uint16_t port() const;
  Endpoint WithPort(std::uint16_t port) const;

  /// 127.0.0.0/8, ::1, and 127.0.0.0/8 mapped into IPv6.
  bool IsLoopback() const;
  std::string Host() const;      ///< numeric, without brackets
  std::string ToString() const;  ///< 127.0.0.1:80, [::1]:80

 private:
  sockaddr_storage storage_{};
  socklen_t length_ = 0;
};

}  // namespace ds::net
