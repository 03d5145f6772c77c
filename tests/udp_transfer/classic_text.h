#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "udp_transfer/core/classic_server.h"

// Effects of a ClassicServer as lines that a test can compare and a simulation can trace.

namespace ds::udp_transfer {

inline std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

inline std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// 10.0.0.`host`:`port`, mapped into IPv6.
inline PeerAddress PeerAt(unsigned host, unsigned port) {
  PeerAddress address;
  address.bytes[10] = address.bytes[11] = std::byte{0xff};
  address.bytes[12] = std::byte{10};
  address.bytes[15] = static_cast<std::byte>(host);
  address.bytes[16] = static_cast<std::byte>(port >> 8U);
  address.bytes[17] = static_cast<std::byte>(port);
  return address;
}

struct EffectText {
  std::string operator()(const ClassicServer::Create& create) const {
    return fmt::format("create {} {} {}", Id(create.session), create.name, create.total_bytes);
  }
  std::string operator()(const ClassicServer::Append& append) const {
    return fmt::format("append {} {}", Id(append.session), Text(append.bytes));
  }
  std::string operator()(const ClassicServer::Complete& complete) const {
    return fmt::format("complete {}", Id(complete.session));
  }
  std::string operator()(const ClassicServer::Discard& discard) const {
    constexpr std::string_view kReasons[] = {"silent", "replaced", "fast", "storage", "shutdown"};
    return fmt::format("discard {} {}", Id(discard.session),
                       kReasons[static_cast<std::size_t>(discard.reason)]);
  }
  std::string operator()(const ClassicServer::Send& send) const { return Text(send.bytes()); }
  std::string operator()(const ClassicServer::Refused& refused) const {
    constexpr std::string_view kReasons[] = {"name",   "bytes", "sessions",
                                             "source", "total", "source bytes"};
    return fmt::format("refused {}", kReasons[static_cast<std::size_t>(refused.reason)]);
  }
  static std::uint64_t Id(ClassicSession session) { return static_cast<std::uint64_t>(session); }
};

inline std::vector<std::string> Lines(ClassicServer::Effects effects) {
  std::vector<std::string> lines;
  for (const auto& effect : effects) lines.push_back(std::visit(EffectText(), effect));
  return lines;
}

}  // namespace ds::udp_transfer
