#pragma once

#include <string>
#include <string_view>

namespace ds::udp_transfer {

/// A text of the server for the terminal: EscapeBytes() but for quotes, which stand in it around
/// names. It must not be put between quotes itself.
std::string PeerText(std::string_view text);

}  // namespace ds::udp_transfer
