#include "udp_transfer/client/options.h"

#include <fmt/format.h>

#include <cmath>

#include "udp_transfer/core/connection.h"

namespace ds::udp_transfer {

absl::Status ClientOptions::Validate() {
  if (paths.size() < 2) {
    return InvalidArgument("parse options: LOCAL_PATH and NAME_ON_SERVER are missing (see --help)");
  }
  if (window_bytes < Connection::kFirstLimit || window_bytes > Connection::kWindowMax) {
    return InvalidArgument("--window: not between 64k and 1g");
  }
  // The flag's own check lets it through, since it is not below its bounds.
  if (std::isnan(rate_limit_mbit)) return InvalidArgument("--rate-limit: not a number");
  if (!key_file.empty()) RETURN_IF_ERROR(NeedFast("--key-file"));
  if (resume) RETURN_IF_ERROR(NeedFast("--resume"));
  if (rate_limit_mbit > 0) RETURN_IF_ERROR(NeedFast("--rate-limit"));
  if (paths.size() > 2) RETURN_IF_ERROR(NeedFast("to send more than one file"));
  return absl::OkStatus();
}

absl::Status ClientOptions::NeedFast(const std::string& what) {
  if (mode == Discovery::Mode::kClassic) {
    return InvalidArgument(fmt::format("--mode classic: {} needs fast mode", what));
  }
  if (mode == Discovery::Mode::kAuto) fast_because = what;
  mode = Discovery::Mode::kFast;
  return absl::OkStatus();
}

}  // namespace ds::udp_transfer
