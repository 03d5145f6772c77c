#include "udp_transfer/server/end_process.h"

#include <spdlog/spdlog.h>

#include <cstdlib>

namespace ds::udp_transfer {

void EndProcess(const absl::Status& status) {
  spdlog::critical("{}: ending, since what was written before may be lost", Message(status));
  spdlog::default_logger()->flush();
  std::_Exit(1);
}

}  // namespace ds::udp_transfer
