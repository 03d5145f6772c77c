#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "udp_transfer/server/partial_state.h"

/// What is taken is written in the same way.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto state = ds::udp_transfer::PartialState::Parse(bytes);
  if (state.ok()) {
    CHECK(state->durable_bytes <= state->size);
    CHECK(state->Encode() == bytes);
  }
  return 0;
}
