#include "udp_transfer/server/options.h"

#include "udp_transfer/core/connection.h"

namespace ds::udp_transfer {

absl::Status ServerOptions::Validate() const {
  if (fast.window_bytes < Connection::kFirstLimit || fast.window_bytes > Connection::kWindowMax) {
    return InvalidArgument("--window: not between 64k and 1g");
  }
  if (fast.memory_bytes < fast.window_bytes + FastService::kSendBufferBytes) {
    return InvalidArgument("--memory: not 64k more than --window");
  }
  RETURN_IF_ERROR(classic_limits.Validate());
  if (classic_limits.source_bytes_max < classic_limits.session_bytes_max) {
    return InvalidArgument("--max-classic-total-per-source: less than --max-classic-file");
  }
  return absl::OkStatus();
}

}  // namespace ds::udp_transfer
