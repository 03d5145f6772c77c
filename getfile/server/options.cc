#include "getfile/server/options.h"

namespace ds::getfile {

absl::Status ServerOptions::Validate() const {
  if (threads > 1024) return InvalidArgument("--threads: more than 1024");
  if (delay_us > 5'000'000) return InvalidArgument("--delay: more than 5000000 us");
  if (header_timeout_s <= 0 || timeout_s <= 0) {
    return InvalidArgument("--header-timeout, --timeout: not above 0 s");
  }
  if (revalidate_s < 0) return InvalidArgument("--revalidate: negative");
  if (connections_max == 0) return InvalidArgument("--max-connections: 0");
  if (send_buffer_total < (1U << 20U)) {
    return InvalidArgument("--send-buffer-total: less than 1 MiB");
  }
  return absl::OkStatus();
}

}  // namespace ds::getfile
