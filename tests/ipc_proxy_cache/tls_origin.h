#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "common/base/unique_fd.h"
#include "tests/harness/temp_dir.h"

namespace ds::ipc_proxy_cache {

/// Makes cert.pem and key.pem of an https server at `host` in the folder.
void MakeCertificate(const testing::TempDir& folder, const std::string& host);

/// An https origin on 127.0.0.1 that gives one answer to every request and then ends the connection
/// as a cut line would: without TLS's goodbye (close_notify). One connection at a time.
/// Thread-safe.
class CutTlsOrigin {
 public:
  explicit CutTlsOrigin(std::string answer);
  /// REQUIRES: nobody is connected any more.
  ~CutTlsOrigin();
  CutTlsOrigin(const CutTlsOrigin&) = delete;
  CutTlsOrigin& operator=(const CutTlsOrigin&) = delete;

  /// "https://127.0.0.1:12345"
  std::string url() const;
  /// The certificate (PEM), for who is to trust it.
  std::string certificate() const { return folder_.path("cert.pem"); }
  /// How many it has answered.
  int requests() const;

 private:
  void Serve();

  const std::string answer_;
  const testing::TempDir folder_;
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  const UniqueFd stop_;  ///< eventfd: readable when the server is to end
  mutable std::mutex mutex_;
  int requests_ = 0;  // guarded by mutex_
  std::jthread thread_;
};

}  // namespace ds::ipc_proxy_cache
