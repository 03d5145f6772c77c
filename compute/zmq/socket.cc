#include "compute/zmq/socket.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <zmq.hpp>

#include "common/base/check.h"
#include "common/base/parse.h"

namespace ds::compute::zmq {
namespace {

/// Subscriptions of one peer that wait to be read. Behind them its connection waits.
constexpr int kSubscriptionsQueued = 64;

absl::Status ZmqError(std::string_view what, const ::zmq::error_t& error) {
  return Unavailable(fmt::format("{}: {}", what, error.what()));
}

::zmq::socket_type TypeOf(Socket::Type type) {
  switch (type) {
    case Socket::Type::kReq:
      return ::zmq::socket_type::req;
    case Socket::Type::kRep:
      return ::zmq::socket_type::rep;
    case Socket::Type::kPub:
      return ::zmq::socket_type::pub;
    case Socket::Type::kXpub:
      return ::zmq::socket_type::xpub;
    case Socket::Type::kSub:
      return ::zmq::socket_type::sub;
    case Socket::Type::kRouter:
      return ::zmq::socket_type::router;
    case Socket::Type::kDealer:
      return ::zmq::socket_type::dealer;
    case Socket::Type::kPush:
      return ::zmq::socket_type::push;
    case Socket::Type::kPull:
      return ::zmq::socket_type::pull;
  }
  CHECK(false);
}

}  // namespace

struct ZmqContext::Impl {
  ::zmq::context_t context;
};

ZmqContext::ZmqContext(int sockets_max) : impl_(std::make_unique<Impl>()) {
  impl_->context.set(::zmq::ctxopt::max_sockets, sockets_max);
}
ZmqContext::~ZmqContext() = default;

struct Socket::Impl {
  ~Impl() {
    // Before `monitor` is closed: libzmq's I/O thread hands an event to it and waits until that is
    // taken, and for ever once nobody is there to take it; no socket of the context does anything
    // then.
    if (monitor) zmq_socket_monitor(socket.handle(), nullptr, 0);
  }

  ::zmq::context_t* context;
  ::zmq::socket_t socket;
  ::zmq::socket_t monitor;  // of Watch()
  Connections connections;
};

Socket::Socket(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Socket::Socket(Socket&&) noexcept = default;
Socket& Socket::operator=(Socket&&) noexcept = default;
Socket::~Socket() = default;

absl::StatusOr<Socket> Socket::Create(ZmqContext* context, Type type, const Options& options) {
  try {
    auto impl = std::make_unique<Impl>();
    impl->context = &context->impl_->context;
    impl->socket = ::zmq::socket_t(context->impl_->context, TypeOf(type));
    ::zmq::socket_t& socket = impl->socket;
    socket.set(::zmq::sockopt::linger,
               static_cast<int>(options.linger / std::chrono::milliseconds(1)));
    socket.set(::zmq::sockopt::sndhwm, options.queue_max);
    // What an XPUB socket receives are subscriptions, and it takes in all that its queues hold at
    // once, for as long as they are filled up behind it: with short ones that ends.
    socket.set(::zmq::sockopt::rcvhwm,
               type == Type::kXpub ? kSubscriptionsQueued : options.queue_max);
    socket.set(::zmq::sockopt::maxmsgsize, options.message_bytes_max);
    socket.set(::zmq::sockopt::reconnect_ivl, 50);
    socket.set(::zmq::sockopt::reconnect_ivl_max, 500);
    socket.set(::zmq::sockopt::backlog, 4096);
    socket.set(::zmq::sockopt::tcp_keepalive, 1);
    socket.set(::zmq::sockopt::tcp_keepalive_idle, 60);
    if (type == Type::kRouter && options.report_unroutable) {
      socket.set(::zmq::sockopt::router_mandatory, true);
    }
    return Socket(std::move(impl));
  } catch (const ::zmq::error_t& error) {
    return ZmqError("make a ZeroMQ socket", error);
  }
}

absl::Status Socket::Bind(net::Listener listener) {
  const std::string address = listener.local.ToString();
  try {
    impl_->socket.set(::zmq::sockopt::ipv6, listener.local.family() == AF_INET6);
    // cppzmq has no name for ZMQ_USE_FD.
    const int fd = listener.socket.get();
    if (zmq_setsockopt(impl_->socket.handle(), ZMQ_USE_FD, &fd, sizeof fd) != 0) {
      return Unavailable(fmt::format("bind {}: {}", address, zmq_strerror(zmq_errno())));
    }
    impl_->socket.bind("tcp://" + address);
    listener.socket.Release();  // the socket's now
    const int none = -1;
    CHECK(zmq_setsockopt(impl_->socket.handle(), ZMQ_USE_FD, &none, sizeof none) == 0);
    return absl::OkStatus();
  } catch (const ::zmq::error_t& error) {
    return ZmqError("bind " + address, error);
  }
}

absl::Status Socket::Connect(const net::HostPort& address) {
  try {
    impl_->socket.set(::zmq::sockopt::ipv6, address.host.find(':') != std::string::npos);
    impl_->socket.connect("tcp://" + address.ToString());
    return absl::OkStatus();
  } catch (const ::zmq::error_t& error) {
    return ZmqError("connect to " + address.ToString(), error);
  }
}

absl::Status Socket::Subscribe(std::string_view prefix) {
  try {
    impl_->socket.set(::zmq::sockopt::subscribe, std::string(prefix));
    return absl::OkStatus();
  } catch (const ::zmq::error_t& error) {
    return ZmqError("subscribe", error);
  }
}

Socket::Sent Socket::Send(const Frames& frames) {
  try {
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const auto more =
          i + 1 < frames.size() ? ::zmq::send_flags::sndmore : ::zmq::send_flags::none;
      if (!impl_->socket.send(::zmq::buffer(frames[i]), more | ::zmq::send_flags::dontwait)) {
        return Sent::kFull;  // only ever before the first frame
      }
    }
    return Sent::kYes;
  } catch (const ::zmq::error_t& error) {
    return error.num() == EHOSTUNREACH ? Sent::kUnreachable : Sent::kFailed;
  }
}

Socket::Sent Socket::Send(std::string_view frame) {
  try {
    const auto sent = impl_->socket.send(::zmq::buffer(frame), ::zmq::send_flags::dontwait);
    return sent ? Sent::kYes : Sent::kFull;
  } catch (const ::zmq::error_t& error) {
    return error.num() == EHOSTUNREACH ? Sent::kUnreachable : Sent::kFailed;
  }
}

std::optional<Frames> Socket::Receive() {
  try {
    Frames frames;
    ::zmq::message_t frame;
    do {
      if (!impl_->socket.recv(frame, ::zmq::recv_flags::dontwait)) return std::nullopt;
      if (frames.size() < kFramesMax) frames.emplace_back(frame.to_string_view());
    } while (frame.more());
    return frames;
  } catch (const ::zmq::error_t&) {
    return std::nullopt;  // EFSM: a REQ that has not asked; EINTR: the next call will tell
  }
}

absl::Status Socket::Watch() {
  try {
    const std::string name = fmt::format("inproc://monitor-{}", impl_->socket.handle());
    constexpr int kEvents = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED;
    if (zmq_socket_monitor(impl_->socket.handle(), name.c_str(), kEvents) != 0) {
      return Unavailable(fmt::format("watch a ZeroMQ socket: {}", zmq_strerror(zmq_errno())));
    }
    impl_->monitor = ::zmq::socket_t(*impl_->context, ::zmq::socket_type::pair);
    impl_->monitor.connect(name);
    return absl::OkStatus();
  } catch (const ::zmq::error_t& error) {
    return ZmqError("watch a ZeroMQ socket", error);
  }
}

Socket::Connections Socket::connections() {
  ::zmq::message_t frame;
  try {
    // An event is two frames: its number (16 bits, of this machine) with a value, and an address.
    while (impl_->monitor.recv(frame, ::zmq::recv_flags::dontwait)) {
      std::uint16_t event = 0;
      if (!frame.more() || frame.size() < sizeof event) continue;
      std::memcpy(&event, frame.data(), sizeof event);
      // A handshake that fails is a disconnection, too: so these cannot be counted against others.
      impl_->connections.standing = event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
      if (impl_->connections.standing) ++impl_->connections.made;
    }
    // A SUB socket gives its subscriptions to a new connection when it is called.
    static_cast<void>(impl_->socket.get(::zmq::sockopt::events));
  } catch (const ::zmq::error_t&) {  // EINTR: the next call will tell
  }
  return impl_->connections;
}

absl::Status Poll(std::span<PollItem> items, std::optional<TimePoint> until) {
  std::vector<::zmq::pollitem_t> polled;
  polled.reserve(items.size());
  for (const PollItem& item : items) {
    Socket* const socket = item.socket != nullptr ? item.socket : item.sender;
    void* const handle = socket != nullptr         ? socket->impl_->socket.handle()
                         : item.watched != nullptr ? item.watched->impl_->monitor.handle()
                                                   : nullptr;
    const short event = item.sender != nullptr ? ZMQ_POLLOUT : ZMQ_POLLIN;
    polled.push_back({handle, item.fd, event, 0});
  }
  std::chrono::milliseconds timeout{-1};
  if (until) {
    const Duration left = *until - std::chrono::steady_clock::now();
    timeout =
        std::max(std::chrono::ceil<std::chrono::milliseconds>(left), std::chrono::milliseconds(0));
  }
  try {
    ::zmq::poll(polled.data(), polled.size(), timeout);
  } catch (const ::zmq::error_t& error) {
    if (error.num() != EINTR) return ZmqError("wait for ZeroMQ sockets", error);
  }
  for (std::size_t i = 0; i < items.size(); ++i) items[i].ready = polled[i].revents != 0;
  return absl::OkStatus();
}

absl::StatusOr<net::HostPort> ParseAddress(std::string_view text) {
  auto address = net::HostPort::Parse(ParseDecimal(text) ? fmt::format("127.0.0.1:{}", text)
                                                         : std::string(text));
  if (!address.ok()) {
    return InvalidArgument(fmt::format("\"{}\": {}", EscapeBytes(text), Message(address.status())));
  }
  if (address->port == 0) {
    return InvalidArgument(fmt::format("\"{}\": nobody has port 0", EscapeBytes(text)));
  }
  return address;
}

}  // namespace ds::compute::zmq
