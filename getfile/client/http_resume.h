#pragma once

#include <memory>
#include <string>

#include "getfile/client/download.h"
#include "getfile/client/fetcher.h"

namespace ds::getfile {

/// Fetches files over HTTP in a way that can be continued: a broken transfer leaves NAME.part and
/// its validator (ETag or Last-Modified) in NAME.part.etag, and the next one asks for the rest by
/// Range with If-Range, so that bytes of two versions are never joined. One per thread.
class HttpResume {
 public:
  struct Options {
    std::string host;
    std::uint16_t port = 0;
    Duration timeout = std::chrono::seconds(30);
    int cancel_fd = -1;
  };

  HttpResume(Options options, const DownloadFolder* folder, FetchProgress progress);
  ~HttpResume();

  struct Result {
    FetchResult fetch;
    std::uint64_t resumed_from = 0;  ///< bytes that were there already
    bool speaks_http = true;         ///< false: nothing was fetched, the server has no HTTP
    std::string note;                ///< why an older part could not be continued, if so
  };
  Result Fetch(const std::string& path);

 private:
  class Transfer;

  const Options options_;
  const DownloadFolder* const folder_;
  const FetchProgress progress_;
  void* curl_;  ///< CURL*
};

}  // namespace ds::getfile
