#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/harness/loopback_lease.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/temp_dir.h"

namespace ds::ipc_proxy_cache {

/// One request that nginx has finished, as its access log tells it.
struct OriginAccess {
  int status = 0;
  std::string target;       ///< as it came: path and query
  std::uint64_t bytes = 0;  ///< of the body
  std::string range;        ///< the request's Range, or "-"
  std::string condition;    ///< the request's If-None-Match, or "-"
};

/// A real origin: the distribution's nginx as one process, in a folder of its own, on a leased
/// address. Ends the test program if there is no nginx or it does not start. Not thread-safe, but
/// for the files.
///
/// Every location of the test's own (`locations`, as nginx.conf has them, with $files for the
/// folder of the files) comes on top of:
///
///   /slow/X             the file X at 1 MB a second
///   /chunked/X          the file X without a length
///   /to/N/X             redirects N times, then to the file X; /to/loop for ever
///   /status/C           the status C (403, 404, 410, 500, 503)
///   /drop               closes without an answer
class NginxOrigin {
 public:
  struct Options {
    std::string locations{};
    bool tls = false;  ///< serves https on the port above, too, with a certificate of its own
  };

  explicit NginxOrigin(Options options);
  NginxOrigin() : NginxOrigin(Options{}) {}
  NginxOrigin(const NginxOrigin&) = delete;
  NginxOrigin& operator=(const NginxOrigin&) = delete;

  /// "http://127.1.2.3:8080"
  std::string url() const;
  std::string tls_url() const;
  /// The certificate (PEM), for who is to trust it. REQUIRES: tls.
  std::string certificate() const { return folder_.path("cert.pem"); }

  /// A file that is served under "/name"; an older one is replaced at once, never in parts.
  void Write(const std::string& name, std::string_view bytes) const;
  void Remove(const std::string& name) const;

  /// The requests that are over, in the order of their ends: at least those whose whole answer
  /// has been received.
  std::vector<OriginAccess> Log() const;
  /// How many of them were for `target`.
  std::size_t Fetches(std::string_view target) const;

  /// kill -9: everything that is under way breaks off.
  void Kill();
  void Start();
  /// Nothing more comes of what is under way until Resume(). To the pace of /slow/ the time between
  /// counts.
  void Pause() { process_->Pause(); }
  void Resume() { process_->Resume(); }

 private:
  const testing::TempDir folder_;
  const testing::LoopbackLease lease_{1};
  std::unique_ptr<testing::ToolProcess> process_;
};

}  // namespace ds::ipc_proxy_cache
