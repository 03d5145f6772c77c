#include "common/net/endpoint.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>

#include <cstring>
#include <memory>

#include "common/base/check.h"
#include "common/base/parse.h"

namespace ds::net {
namespace {

/// getaddrinfo(3) takes it for no host, and so for localhost: the opposite of what who writes it
/// means.
constexpr std::string_view kResolversAny = "*";

}  // namespace

absl::StatusOr<HostPort> HostPort::Parse(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return InvalidArgument(fmt::format("parse address \"{}\": {}", EscapeBytes(text), why));
  };
  std::string_view host;
  std::string_view port;
  if (!text.empty() && text.front() == '[') {
    const auto close = text.find(']');
    if (close == std::string_view::npos) return bad("missing ]");
    if (close + 1 >= text.size() || text[close + 1] != ':') return bad("expected [HOST]:PORT");
    host = text.substr(1, close - 1);
    port = text.substr(close + 2);
  } else {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return bad("expected HOST:PORT");
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (host.find(':') != std::string_view::npos) return bad("put an IPv6 host into brackets");
  }
  if (host.empty()) return bad("the host is missing");
  if (host == kResolversAny) return bad("* is no host; 0.0.0.0 and [::] are all addresses");
  if (host.find('\0') != std::string_view::npos) return bad("NUL in the host");
  if (host.find_first_of("[]") != std::string_view::npos) return bad("a bracket in the host");
  const auto number = ParseDecimal(port);
  if (!number || *number > 65535) return bad("the port is not a number from 0 to 65535");
  return HostPort{std::string(host), static_cast<std::uint16_t>(*number)};
}

std::string HostPort::ToString() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

Endpoint::Endpoint(const sockaddr* address, socklen_t length) : length_(length) {
  CHECK(length <= sizeof storage_);
  std::memcpy(&storage_, address, length);
}

absl::StatusOr<std::vector<Endpoint>> Endpoint::Resolve(const HostPort& host_port) {
  if (host_port.host == kResolversAny) return Unavailable("resolve \"*\": not a host");
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const std::string port = std::to_string(host_port.port);
  const int error = ::getaddrinfo(host_port.host.c_str(), port.c_str(), &hints, &list);
  if (error != 0) {
    return Unavailable(
        fmt::format("resolve \"{}\": {}", EscapeBytes(host_port.host), ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(list, &::freeaddrinfo);
  std::vector<Endpoint> endpoints;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family == AF_INET || entry->ai_family == AF_INET6) {
      endpoints.emplace_back(entry->ai_addr, entry->ai_addrlen);
    }
  }
  if (endpoints.empty()) {
    return Unavailable(fmt::format("resolve \"{}\": no IP address", host_port.host));
  }
  return endpoints;
}

std::uint16_t Endpoint::port() const {
  if (family() == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
  }
  return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
}

Endpoint Endpoint::WithPort(std::uint16_t port) const {
  Endpoint copy = *this;
  if (family() == AF_INET) {
    reinterpret_cast<sockaddr_in*>(&copy.storage_)->sin_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in6*>(&copy.storage_)->sin6_port = htons(port);
  }
  return copy;
}

bool Endpoint::IsLoopback() const {
  if (family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage_);
    return (ntohl(v4->sin_addr.s_addr) >> 24U) == 127;
  }
  if (family() == AF_INET6) {
    const in6_addr& v6 = reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
  }
  return false;
}

std::string Endpoint::Host() const {
  char text[INET6_ADDRSTRLEN] = "?";
  const void* raw =
      family() == AF_INET
          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr)
          : static_cast<const void*>(&reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr);
  return ::inet_ntop(family(), raw, text, sizeof text) == nullptr ? "?" : text;
}

std::string Endpoint::ToString() const { return HostPort{Host(), port()}.ToString(); }

}  // namespace ds::net
