#include "udp_transfer/client/peer_text.h"

#include <algorithm>

#include "common/base/parse.h"

namespace ds::udp_transfer {

std::string PeerText(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('"'), text.size());
    out += EscapeBytes(text.substr(0, end));
    if (end < text.size()) out += '"';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

}  // namespace ds::udp_transfer
