#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/net/endpoint.h"

/// What was read as HOST:PORT is written and read back as the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parsed =
      ds::net::HostPort::Parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (parsed.ok()) {
    const auto again = ds::net::HostPort::Parse(parsed->ToString());
    CHECK(again.ok() && again->host == parsed->host && again->port == parsed->port);
  }
  return 0;
}
