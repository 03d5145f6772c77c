#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/check.h"
#include "ipc_proxy_cache/core/messages.h"

using ds::ipc_proxy_cache::DecodeMessage;
using ds::ipc_proxy_cache::EncodeMessage;
using ds::ipc_proxy_cache::Sender;

/// Whatever a packet says, it is refused or it is the one way to say it, by one side only.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> packet(reinterpret_cast<const std::byte*>(data), size);
  int senders = 0;
  for (const Sender sender : {Sender::kLink, Sender::kCache}) {
    const auto message = DecodeMessage(packet, sender);
    if (!message.ok()) continue;
    ++senders;
    const std::vector<std::byte> again = EncodeMessage(*message);
    CHECK(std::vector<std::byte>(packet.begin(), packet.end()) == again);
  }
  CHECK(senders <= 1);
  return 0;
}
