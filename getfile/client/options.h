#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "getfile/core/protocol.h"

namespace ds::getfile {

/// What getfile-client can be told.
struct ClientOptions {
  std::string server = "127.0.0.1";  ///< name or address
  std::uint16_t port = 10880;
  std::vector<std::string> paths;  ///< to fetch; or
  std::string workload_file;       ///< a file of paths
  std::uint64_t requests = 0;      ///< request i takes path i mod n; 0: each path once
  unsigned threads = 4;
  std::string output_folder = ".";
  std::string verify_file;  ///< list of sha256sum(1); empty: no verification
  bool keep_alive = false;
  bool resume = false;
  std::optional<Dialect> dialect;  ///< accept only this one; else either
  unsigned retries = 0;            ///< further attempts for a transfer that broke
  double timeout_s = 30;           ///< without progress; also for each connect
  bool json = false;
};

}  // namespace ds::getfile
