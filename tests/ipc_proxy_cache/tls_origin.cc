#include "tests/ipc_proxy_cache/tls_origin.h"

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <memory>
#include <utility>

#include "common/base/check.h"
#include "common/base/status.h"
#include "common/net/endpoint.h"
#include "common/net/socket.h"
#include "tests/harness/run_tool.h"

namespace ds::ipc_proxy_cache {
namespace {

struct SslDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* connection) const { SSL_free(connection); }
};

/// Reads the head of one request. False if the peer has gone, or does not trust us.
bool ReadRequest(SSL* tls) {
  if (SSL_accept(tls) != 1) return false;
  std::string request;
  while (request.find("\r\n\r\n") == std::string::npos) {
    std::array<char, 4096> buffer{};
    const int n = SSL_read(tls, buffer.data(), buffer.size());
    if (n <= 0) return false;
    request.append(buffer.data(), static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

void MakeCertificate(const testing::TempDir& folder, const std::string& host) {
  const auto made = testing::RunTool(
      "openssl", {"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                  "-nodes", "-keyout", folder.path("key.pem"), "-out", folder.path("cert.pem"),
                  "-days", "2", "-subj", "/CN=origin", "-addext", "subjectAltName=IP:" + host});
  CHECK(made.exit_code == 0, made.err);
}

CutTlsOrigin::CutTlsOrigin(std::string answer)
    : answer_(std::move(answer)), stop_(::eventfd(0, EFD_CLOEXEC)) {
  CHECK(stop_);
  MakeCertificate(folder_, "127.0.0.1");
  const auto endpoints = net::Endpoint::Resolve({"127.0.0.1", 0});
  CHECK(endpoints.ok());
  auto listener = net::ListenTcp(endpoints->front());
  CHECK(listener.ok(), Message(listener.status()));
  listener_ = std::move(listener->socket);
  port_ = listener->local.port();
  thread_ = std::jthread([this] { Serve(); });
}

CutTlsOrigin::~CutTlsOrigin() {
  const std::uint64_t one = 1;
  CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
  thread_.join();
}

void CutTlsOrigin::Serve() {
  // A client that has gone is an error of SSL_write(), not this program's end.
  sigset_t pipe;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  CHECK(::pthread_sigmask(SIG_BLOCK, &pipe, nullptr) == 0);
  const std::unique_ptr<SSL_CTX, SslDeleter> context(SSL_CTX_new(TLS_server_method()));
  CHECK(context != nullptr &&
        SSL_CTX_use_certificate_file(context.get(), folder_.path("cert.pem").c_str(),
                                     SSL_FILETYPE_PEM) == 1 &&
        SSL_CTX_use_PrivateKey_file(context.get(), folder_.path("key.pem").c_str(),
                                    SSL_FILETYPE_PEM) == 1);
  while (net::WaitFor(listener_.get(), POLLIN, Duration::zero(), stop_.get()).ok()) {
    const UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) continue;
    const std::unique_ptr<SSL, SslDeleter> tls(SSL_new(context.get()));
    CHECK(tls != nullptr && SSL_set_fd(tls.get(), socket.get()) == 1);
    if (!ReadRequest(tls.get())) continue;
    {
      const std::lock_guard lock(mutex_);
      ++requests_;
    }
    SSL_write(tls.get(), answer_.data(), static_cast<int>(answer_.size()));
    // No SSL_shutdown(). Nothing is unread, so this is no reset: the answer arrives.
    ::shutdown(socket.get(), SHUT_WR);
    std::array<char, 4096> rest{};
    while (::recv(socket.get(), rest.data(), rest.size(), 0) > 0) {
    }
  }
}

std::string CutTlsOrigin::url() const { return fmt::format("https://127.0.0.1:{}", port_); }

int CutTlsOrigin::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

}  // namespace ds::ipc_proxy_cache
