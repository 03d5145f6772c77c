#include "common/rpc/tls.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

#include "common/fs/read_file.h"

namespace ds::rpc {
namespace {

constexpr std::size_t kFileBytesMax = 1U << 20U;

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

Owned<BIO> Open(const std::string& pem) {
  return Owned<BIO>(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

/// A key behind a passphrase is no key: nobody is there to be asked.
int NoPassphrase(char* /*buffer*/, int /*size*/, int /*write*/, void* /*argument*/) { return -1; }

Owned<X509> FirstCertificate(const std::string& pem) {
  const Owned<BIO> bio = Open(pem);
  Owned<X509> certificate(PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();  // the thread's queue is gRPC's, too
  return certificate;
}

Owned<EVP_PKEY> Key(const std::string& pem) {
  const Owned<BIO> bio = Open(pem);
  Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  return key;
}

absl::StatusOr<std::string> ReadPem(const char* option, const std::string& path) {
  if (path.empty()) return std::string();
  auto bytes = fs::ReadFile(path, kFileBytesMax);
  if (!bytes.ok()) {
    return InvalidArgument(fmt::format("{} {}: {}", option, path, Message(bytes.status())));
  }
  return bytes;
}

absl::Status Refuse(const char* option, const std::string& path, std::string_view why) {
  return InvalidArgument(fmt::format("{} {}: {}", option, path, why));
}

}  // namespace

void AddTlsFlags(CLI::App& flags, TlsOptions* options, TlsEnd end) {
  const bool server = end == TlsEnd::kServer;
  flags.add_option("--tls-cert", options->cert_file,
                   server ? "PEM file with the certificate to show; turns TLS on (default: none)"
                          : "PEM file with the certificate to show (default: none)");
  flags.add_option("--tls-key", options->key_file, "PEM file with its key (default: none)");
  flags.add_option("--tls-ca", options->ca_file,
                   server ? "PEM file with the CA of which clients must show a certificate "
                            "(default: none need be shown)"
                          : "PEM file with the CA of the server; turns TLS on (default: no TLS; "
                            "with --tls-cert, the CAs of this machine)");
}

absl::StatusOr<TlsFiles> ReadTlsFiles(const TlsOptions& options, TlsEnd end) {
  TlsFiles files;
  if (!options.enabled()) return files;
  if (options.cert_file.empty() != options.key_file.empty()) {
    return InvalidArgument("--tls-cert, --tls-key: one without the other");
  }
  if (end == TlsEnd::kServer && options.cert_file.empty()) {
    return InvalidArgument("--tls-ca: needs --tls-cert and --tls-key");
  }
  ASSIGN_OR_RETURN(files.cert, ReadPem("--tls-cert", options.cert_file));
  ASSIGN_OR_RETURN(files.key, ReadPem("--tls-key", options.key_file));
  ASSIGN_OR_RETURN(files.ca, ReadPem("--tls-ca", options.ca_file));
  if (!options.ca_file.empty() && !FirstCertificate(files.ca)) {
    return Refuse("--tls-ca", options.ca_file, "no certificate in PEM form");
  }
  if (!options.cert_file.empty()) {
    const Owned<X509> certificate = FirstCertificate(files.cert);
    if (!certificate) return Refuse("--tls-cert", options.cert_file, "no certificate in PEM form");
    const Owned<EVP_PKEY> key = Key(files.key);
    if (!key) return Refuse("--tls-key", options.key_file, "no key in PEM form, or encrypted");
    const bool fits = X509_check_private_key(certificate.get(), key.get()) == 1;
    ERR_clear_error();
    if (!fits) return Refuse("--tls-key", options.key_file, "not the key of --tls-cert");
  }
  return files;
}

}  // namespace ds::rpc
