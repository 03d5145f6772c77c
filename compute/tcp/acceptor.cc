#include "compute/tcp/acceptor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "common/base/check.h"

namespace ds::compute::tcp {
namespace {

constexpr std::string_view kTooMany = "error: too many connections\n";
constexpr int kAcceptPause_ms = 100;
constexpr int kAcceptedAtEndMax = 4096;  // the backlog of a listener
/// What the kernel may hold for a peer that does not read; it doubles this for its own use.
constexpr int kSendBufferBytes = 128 << 10;

}  // namespace

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Start(
    std::vector<net::Listener> listeners, const std::vector<std::unique_ptr<Worker>>* workers,
    std::size_t connections_max, std::atomic<std::size_t>* connections_open) {
  for (const net::Listener& listener : listeners) {
    // Accepted sockets inherit both.
    const int on = 1;
    if (::setsockopt(listener.socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        ::setsockopt(listener.socket.get(), SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes,
                     sizeof kSendBufferBytes) != 0) {
      return ErrnoError("setsockopt", errno);
    }
  }
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  if (!stop) return ErrnoError("eventfd", errno);
  return std::unique_ptr<Acceptor>(new Acceptor(std::move(listeners), workers, connections_max,
                                                connections_open, std::move(stop)));
}

Acceptor::Acceptor(std::vector<net::Listener> listeners,
                   const std::vector<std::unique_ptr<Worker>>* workers, std::size_t connections_max,
                   std::atomic<std::size_t>* connections_open, UniqueFd stop)
    : listeners_(std::move(listeners)),
      workers_(workers),
      connections_max_(connections_max),
      connections_open_(connections_open),
      stop_(std::move(stop)) {
  thread_ = std::jthread([this](const std::stop_token& token) { Run(token); });
  ::pthread_setname_np(thread_.native_handle(), "acceptor");
}

void Acceptor::Stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  const std::uint64_t one = 1;
  CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
  thread_.join();
  listeners_.clear();
}

void Acceptor::Run(const std::stop_token& stop) {
  std::vector<pollfd> fds;
  for (const net::Listener& listener : listeners_) {
    fds.push_back({listener.socket.get(), POLLIN, 0});
  }
  fds.push_back({stop_.get(), POLLIN, 0});
  while (!stop.stop_requested()) {
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;  // EINTR
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
      if (fds[i].revents == 0 || AcceptOne(fds[i].fd, stop) != Outcome::kNoResources) continue;
      // The connection stays in the backlog and the listener readable: without a pause this would
      // spin.
      ::poll(&fds.back(), 1, kAcceptPause_ms);
    }
  }
  // Who has connected already is served; but no flood holds up the end.
  for (const net::Listener& listener : listeners_) {
    for (int i = 0; i < kAcceptedAtEndMax; ++i) {
      const Outcome outcome = AcceptOne(listener.socket.get(), stop);
      if (outcome == Outcome::kNobody || outcome == Outcome::kNoResources) break;
    }
  }
}

Acceptor::Outcome Acceptor::AcceptOne(int listener, const std::stop_token& stop) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  UniqueFd socket(::accept4(listener, reinterpret_cast<sockaddr*>(&address), &length,
                            SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (socket) {
    HandOver(
        {std::move(socket), net::Endpoint(reinterpret_cast<const sockaddr*>(&address), length)},
        stop);
    return Outcome::kAccepted;
  }
  if (errno == EAGAIN) return Outcome::kNobody;
  counters_.accept_errors.Add();
  const bool no_resources =
      errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
  return no_resources ? Outcome::kNoResources : Outcome::kPeerGone;
}

void Acceptor::HandOver(Accepted connection, const std::stop_token& stop) {
  if (connections_open_->load(std::memory_order_relaxed) >= connections_max_) {
    counters_.refused.Add();
    // A new socket has room for it. It may be lost if the peer is sending; the end is not.
    [[maybe_unused]] const ssize_t n = ::send(connection.socket.get(), kTooMany.data(),
                                              kTooMany.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return;
  }
  Worker& worker =
      **std::min_element(workers_->begin(), workers_->end(), [](const auto& a, const auto& b) {
        return a->load().load(std::memory_order_relaxed) <
               b->load().load(std::memory_order_relaxed);
      });
  connections_open_->fetch_add(1, std::memory_order_relaxed);
  worker.load().fetch_add(1, std::memory_order_relaxed);
  if (worker.queue().Push(connection, stop)) return;
  // The server ends, and its workers cannot keep up.
  connections_open_->fetch_sub(1, std::memory_order_relaxed);
  worker.load().fetch_sub(1, std::memory_order_relaxed);
  counters_.refused.Add();
}

}  // namespace ds::compute::tcp
