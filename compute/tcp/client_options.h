#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"

namespace ds::compute::tcp {

/// What prime-client can be told.
struct ClientOptions {
  std::string server;                ///< HOST:PORT
  std::vector<std::string> numbers;  ///< empty, and no file: the default list
  std::string file;                  ///< a number a line; "-": standard input; empty: none
  bool pipeline = false;  ///< send lines, many at a time; else bare numbers, one at a time
  bool json = false;
  double timeout_s = 10;  ///< for connecting, and for an answer

  absl::Status Validate() const {
    if (!numbers.empty() && !file.empty()) {
      return InvalidArgument("--file: not together with numbers");
    }
    if (!(timeout_s > 0 && timeout_s <= 1e6)) {
      return InvalidArgument("--timeout: above 0, at most 1000000 seconds");
    }
    return absl::OkStatus();
  }
};

}  // namespace ds::compute::tcp
