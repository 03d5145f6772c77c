#pragma once

#include <string>

#include "tests/harness/temp_dir.h"

namespace ds::testing {

/// A certificate and its key, as files.
struct CertificateFiles {
  std::string cert;
  std::string key;
};

/// A certificate authority of one test, made by the `openssl` program. Not thread-safe.
class CertificateAuthority {
 public:
  explicit CertificateAuthority(const std::string& name);

  /// Its own certificate (PEM).
  std::string file() const { return folder_.path("ca.pem"); }

  /// A certificate signed by it, for 127.0.0.1, ::1 and localhost, and for `address` if there is
  /// one. REQUIRES: `name` is new, and good as the name of a file.
  CertificateFiles Issue(const std::string& name, const std::string& address = "");

 private:
  const TempDir folder_;
};

}  // namespace ds::testing
