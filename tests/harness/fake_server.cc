#include "tests/harness/fake_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/base/check.h"
#include "common/net/socket.h"

namespace ds::testing {
namespace {

/// False when the server is to end.
bool Await(int fd, short events, int stop) {
  return net::WaitFor(fd, events, Duration::zero(), stop).ok();
}

}  // namespace

std::string FakeServer::Conversation::ReadRequest() {
  constexpr std::string_view kEmptyLine = "\r\n\r\n";
  for (;;) {
    if (const std::size_t end = received_.find(kEmptyLine); end != std::string::npos) {
      std::string request = received_.substr(0, end + kEmptyLine.size());
      received_.erase(0, request.size());
      const std::lock_guard lock(server_->mutex_);
      server_->requests_.push_back(request);
      return request;
    }
    if (!Await(socket_.get(), POLLIN, server_->stop_.get())) return "";
    char buffer[4096];
    const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n <= 0) return "";
    received_.append(buffer, static_cast<std::size_t>(n));
  }
}

void FakeServer::Conversation::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EAGAIN || !Await(socket_.get(), POLLOUT, server_->stop_.get())) {
      return;  // the peer is gone, which is its right
    }
  }
}

void FakeServer::Conversation::SendSlowly(std::string_view bytes) {
  for (const char& byte : bytes) Send({&byte, 1});
}

void FakeServer::Conversation::WaitForEnd() {
  char buffer[4096];
  while (Await(socket_.get(), POLLIN, server_->stop_.get()) &&
         ::recv(socket_.get(), buffer, sizeof buffer, 0) > 0) {
  }
}

void FakeServer::Conversation::Reset() {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  CHECK(::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
  socket_.Reset();
}

FakeServer::FakeServer(std::vector<Script> scripts)
    : scripts_(std::move(scripts)), stop_(::eventfd(0, EFD_CLOEXEC)) {
  CHECK(!scripts_.empty() && stop_);
  const auto endpoints = net::Endpoint::Resolve({"127.0.0.1", 0});
  CHECK(endpoints.ok());
  auto listener = net::ListenTcp(endpoints->front());
  CHECK(listener.ok(), Message(listener.status()));
  listener_ = std::move(listener->socket);
  port_ = listener->local.port();
  thread_ = std::jthread([this] { Serve(); });
}

FakeServer::~FakeServer() {
  const std::uint64_t one = 1;
  CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
  thread_.join();
}

void FakeServer::Serve() {
  for (std::size_t i = 0; Await(listener_.get(), POLLIN, stop_.get()); ++i) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) continue;
    const int one = 1;
    CHECK(::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
    {
      const std::lock_guard lock(mutex_);
      ++connections_;
    }
    Conversation conversation(this, std::move(socket));
    scripts_[std::min(i, scripts_.size() - 1)](conversation);
    if (!conversation.socket_) continue;
    // Closing with unread bytes would be a reset, and could destroy what was sent.
    ::shutdown(conversation.socket_.get(), SHUT_WR);
    conversation.WaitForEnd();
  }
}

std::vector<std::string> FakeServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::size_t FakeServer::connections() const {
  const std::lock_guard lock(mutex_);
  return connections_;
}

FakeServer::Script FakeServer::Answer(std::string bytes) {
  return [bytes = std::move(bytes)](Conversation& peer) {
    if (!peer.ReadRequest().empty()) peer.Send(bytes);
  };
}

FakeServer::Script FakeServer::AnswerAll(std::string bytes) {
  return [bytes = std::move(bytes)](Conversation& peer) {
    while (!peer.ReadRequest().empty()) peer.Send(bytes);
  };
}

}  // namespace ds::testing
