#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "common/net/endpoint.h"
#include "getfile/client/download.h"
#include "getfile/core/answer.h"

namespace ds::getfile {

/// How one fetch ended.
struct FetchResult {
  /// The server's word; none when no whole answer head came.
  std::optional<AnswerStatus> status;
  std::uint64_t received = 0;  ///< body bytes
  std::uint64_t length = 0;    ///< announced body bytes
  /// Why the file is not there though the status is kOk, or why there is no status. kCancelled:
  /// interrupted. OK with kOk means arrived, verified and in place.
  absl::Status error;

  bool arrived() const { return status == AnswerStatus::kOk && error.ok(); }
};

/// What a progress display is told.
struct FetchProgress {
  std::function<void(std::uint64_t)> expected;  ///< so many more body bytes will come
  std::function<void(std::uint64_t)> received;  ///< so many of them have come
};

/// Fetches files over one connection at a time. One per thread.
class Fetcher {
 public:
  struct Options {
    std::vector<net::Endpoint> endpoints;  ///< tried in order
    bool keep_alive = false;               ///< given up for good when the server does not know it
    std::optional<Dialect> dialect;
    Duration timeout = std::chrono::seconds(30);  ///< without progress
    int cancel_fd = -1;                           ///< gives up once readable
  };

  Fetcher(Options options, const DownloadFolder* folder, FetchProgress progress);

  /// REQUIRES: IsRequestPath(path).
  FetchResult Fetch(const std::string& path);

 private:
  /// `answered`: at least one byte of an answer came.
  FetchResult FetchOnce(const std::string& path, bool* answered);
  absl::Status SendAll(std::string_view bytes);
  absl::StatusOr<std::size_t> Receive();

  Options options_;
  const DownloadFolder* const folder_;
  const FetchProgress progress_;
  UniqueFd socket_;
  std::string buffer_;
};

}  // namespace ds::getfile
