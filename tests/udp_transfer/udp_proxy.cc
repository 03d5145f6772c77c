#include "tests/udp_transfer/udp_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

constexpr std::size_t kBufferBytes = 65536;

sockaddr_in Loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

UniqueFd OpenSocket() {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  CHECK(fd);
  const int bytes = 4 << 20;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  return fd;
}

UniqueFd ConnectedSocket(std::uint16_t port) {
  UniqueFd fd = OpenSocket();
  const sockaddr_in peer = Loopback(port);
  CHECK(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) == 0);
  return fd;
}

std::uint16_t LocalPort(int fd) {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return ntohs(address.sin_port);
}

}  // namespace

UdpProxy::UdpProxy(std::uint16_t server_port, Rule rule)
    : downstream_(OpenSocket()),
      wake_up_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      server_port_(server_port),
      rule_(std::move(rule)) {
  const sockaddr_in any = Loopback(0);
  CHECK(::bind(downstream_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0);
  port_ = LocalPort(downstream_.get());
  thread_ = std::jthread([this] { Serve(); });
}

UdpProxy::~UdpProxy() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  const std::uint64_t one = 1;
  CHECK(::write(wake_up_.get(), &one, sizeof one) == sizeof one);
  thread_.join();
}

void UdpProxy::SetRule(Rule rule) {
  const std::lock_guard lock(mutex_);
  rule_ = std::move(rule);
}

void UdpProxy::SetServer(std::uint16_t server_port) {
  const std::lock_guard lock(mutex_);
  server_port_ = server_port;
  upstreams_.clear();
}

void UdpProxy::ChangeAddresses() {
  const std::lock_guard lock(mutex_);
  for (auto& [client, socket] : upstreams_) {
    // The new one is opened before the old one goes, or it might get the same port.
    UniqueFd fresh = ConnectedSocket(server_port_);
    socket = std::move(fresh);
  }
}

void UdpProxy::PassNoMoreThan(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  pass_bytes_max_ = bytes;
}

std::size_t UdpProxy::count(Way way) const {
  const std::lock_guard lock(mutex_);
  return counts_[way == Way::kToServer ? 0 : 1];
}

std::size_t UdpProxy::bytes(Way way) const {
  const std::lock_guard lock(mutex_);
  return bytes_[way == Way::kToServer ? 0 : 1];
}

void UdpProxy::Serve() {
  std::string buffer(kBufferBytes, '\0');
  for (;;) {
    std::vector<pollfd> fds = {{wake_up_.get(), POLLIN, 0}, {downstream_.get(), POLLIN, 0}};
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      for (const auto& [client, socket] : upstreams_) {
        fds.push_back({socket.get(), POLLIN, 0});
      }
    }
    // Short, since the sockets may be exchanged meanwhile.
    ::poll(fds.data(), fds.size(), 20);
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < 64; ++i) {
      sockaddr_in from{};
      socklen_t length = sizeof from;
      const ssize_t n = ::recvfrom(downstream_.get(), buffer.data(), buffer.size(), 0,
                                   reinterpret_cast<sockaddr*>(&from), &length);
      if (n < 0) break;
      ++counts_[0];
      bytes_[0] += static_cast<std::size_t>(n);
      if (passed_bytes_ + static_cast<std::size_t>(n) > pass_bytes_max_) continue;
      passed_bytes_ += static_cast<std::size_t>(n);
      UniqueFd& upstream = upstreams_[ntohs(from.sin_port)];
      if (!upstream) upstream = ConnectedSocket(server_port_);
      for (const std::string& out :
           rule_(Way::kToServer, buffer.substr(0, static_cast<std::size_t>(n)))) {
        ::send(upstream.get(), out.data(), out.size(), 0);
      }
    }
    for (const auto& [client, socket] : upstreams_) {
      for (int i = 0; i < 64; ++i) {
        const ssize_t n = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (n < 0) break;
        ++counts_[1];
        bytes_[1] += static_cast<std::size_t>(n);
        const sockaddr_in to = Loopback(client);
        for (const std::string& out :
             rule_(Way::kToClient, buffer.substr(0, static_cast<std::size_t>(n)))) {
          ::sendto(downstream_.get(), out.data(), out.size(), 0,
                   reinterpret_cast<const sockaddr*>(&to), sizeof to);
        }
      }
    }
  }
}

}  // namespace ds::udp_transfer
