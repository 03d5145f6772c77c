#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "common/base/status.h"

namespace ds::rpc {

/// --tls-cert, --tls-key, --tls-ca, of a daemon or of its client.
struct TlsOptions {
  std::string cert_file{};  ///< PEM: our certificate, and the chain above it
  std::string key_file{};   ///< PEM: its key
  std::string ca_file{};    ///< PEM: whom to trust

  bool enabled() const { return !cert_file.empty() || !ca_file.empty() || !key_file.empty(); }
};

/// Which end of a connection the options are for.
enum class TlsEnd { kServer, kClient };

/// Adds the three options to a program's flags.
void AddTlsFlags(CLI::App& flags, TlsOptions* options, TlsEnd end);

/// What the files of TlsOptions hold.
struct TlsFiles {
  std::string cert;
  std::string key;
  std::string ca;
};

/// Reads the files and checks them: certificates that can be read, a key that fits the first of
/// them. A server needs certificate and key, and with a CA it takes only clients with a certificate
/// of it; a client needs neither, or both. kInvalidArgument names the option.
absl::StatusOr<TlsFiles> ReadTlsFiles(const TlsOptions& options, TlsEnd end);

}  // namespace ds::rpc
