#include "tests/compute/prime_programs.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "common/base/check.h"
#include "common/net/endpoint.h"
#include "common/net/socket.h"

namespace ds::compute {
namespace {

using testing::DaemonProcess;
using testing::RawPeer;

DaemonProcess::Options WithFlags(std::vector<std::string> flags, DaemonProcess::Options process) {
  process.program = "prime-server";
  process.arguments = {"0", "--metrics", "127.0.0.1:0"};
  if (std::find(flags.begin(), flags.end(), "--workers") == flags.end()) {
    process.arguments.insert(process.arguments.end(), {"--workers", "2"});
  }
  process.arguments.insert(process.arguments.end(), std::make_move_iterator(flags.begin()),
                           std::make_move_iterator(flags.end()));
  return process;
}

bool SlowIsPrime(std::uint64_t n) {
  for (std::uint64_t d = 2; d * d <= n; ++d) {
    if (n % d == 0) return false;
  }
  return n >= 2;
}

}  // namespace

PrimeServer::PrimeServer(std::vector<std::string> flags, DaemonProcess::Options process)
    : process_(WithFlags(std::move(flags), std::move(process))) {
  const absl::Status started = process_.StartAndWaitReady();
  CHECK(started.ok(), Message(started));
}

std::string PrimeServer::address() const { return process_.address().ToString(); }

RawPeer PrimeServer::Connect(const RawPeer::ConnectOptions& options) const {
  auto peer = RawPeer::Connect(process_.host(), process_.port(), options);
  CHECK(peer.ok(), Message(peer.status()));
  return std::move(peer).value();
}

double PrimeServer::Metric(const std::string& series) const {
  const auto address = net::HostPort::Parse(process_.Key("metrics"));
  CHECK(address.ok(), Message(address.status()));
  const std::string text =
      RawPeer::Exchange(address->host, address->port, "GET /metrics HTTP/1.0\r\n\r\n").bytes;
  const std::size_t at = text.rfind("\n" + series + " ");
  if (at == std::string::npos) return -1;
  return std::strtod(text.c_str() + at + 1 + series.size(), nullptr);
}

std::size_t PrimeServer::LinesBeginningWith(const std::string& start) const {
  const auto lines = process_.stdout_lines();
  return static_cast<std::size_t>(
      std::count_if(lines.begin(), lines.end(),
                    [&](const std::string& line) { return line.starts_with(start); }));
}

ClassicServer::ClassicServer(Answers answers, int answers_max)
    : answers_(answers), answers_max_(answers_max), stop_(::eventfd(0, EFD_CLOEXEC)) {
  const auto endpoints = net::Endpoint::Resolve({"127.0.0.1", 0});
  CHECK(endpoints.ok());
  auto listener = net::ListenTcp(endpoints->front());
  CHECK(listener.ok(), Message(listener.status()));
  listener_ = std::move(listener->socket);
  port_ = listener->local.port();
  thread_ = std::jthread([this] { Serve(); });
}

ClassicServer::~ClassicServer() { EndAndTakeReceived(); }

const std::vector<std::string>& ClassicServer::EndAndTakeReceived() {
  if (!thread_.joinable()) return received_;
  const std::uint64_t one = 1;
  CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
  thread_.join();
  return received_;
}

std::string ClassicServer::address() const { return fmt::format("127.0.0.1:{}", port_); }

void ClassicServer::Serve() {
  const auto wait = [&](int fd) {
    return net::WaitFor(fd, POLLIN, Duration::zero(), stop_.get()).ok();
  };
  while (wait(listener_.get())) {
    const UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer) continue;
    const int on = 1;
    ::setsockopt(peer.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (int answered = 0; answers_max_ == 0 || answered < answers_max_; ++answered) {
      char buffer[64] = {};
      if (!wait(peer.get())) return;
      const ssize_t n = ::recv(peer.get(), buffer, sizeof buffer - 1, 0);
      if (n <= 0) break;
      received_.emplace_back(buffer, static_cast<std::size_t>(n));
      std::string answer =
          SlowIsPrime(std::strtoull(buffer, nullptr, 10)) ? "is prime" : "is not prime";
      if (answers_ == Answers::kNulEnded) answer += '\0';
      const std::size_t step = answers_ == Answers::kByteByByte ? 1 : answer.size();
      for (std::size_t at = 0; at < answer.size(); at += step) {
        ::send(peer.get(), answer.data() + at, step, MSG_NOSIGNAL);
      }
    }
  }
}

}  // namespace ds::compute
