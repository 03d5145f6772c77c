#include "compute/zmq/socket.h"

#include <gtest/gtest.h>

#include <chrono>
#include <utility>

#include "common/base/check.h"
#include "common/net/socket.h"
#include "tests/harness/deadline.h"

namespace ds::compute::zmq {
namespace {

using std::chrono::steady_clock;

Socket Watched(ZmqContext* context, const net::HostPort& address) {
  auto socket = Socket::Create(context, Socket::Type::kReq, {.linger = Duration::zero()});
  CHECK(socket.ok() && socket->Watch().ok() && socket->Connect(address).ok());
  return std::move(*socket);
}

bool Connects(Socket& socket, TimePoint until) {
  while (!socket.connections().standing) {
    if (steady_clock::now() >= until) return false;
    PollItem item{.watched = &socket};
    CHECK(Poll({&item, 1}, until).ok());
  }
  return true;
}

TEST(ZmqSocketTest, ClosingAWatchedSocketAtAnyMomentHoldsUpNoOther) {
  ZmqContext context;
  auto listener = net::ListenTcp(net::Endpoint::Resolve({"127.0.0.1", 0})->front());
  ASSERT_TRUE(listener.ok());
  const net::HostPort address{"127.0.0.1", listener->local.port()};
  auto server = Socket::Create(&context, Socket::Type::kRep, {});
  ASSERT_TRUE(server.ok() && server->Bind(std::move(*listener)).ok());

  // Closed from before its first event to after its last one.
  constexpr int kSteps = 500;
  constexpr Duration kStep = std::chrono::microseconds(4);
  for (int i = 0; i < kSteps; ++i) {
    const Socket socket = Watched(&context, address);
    const TimePoint until = steady_clock::now() + i * kStep;
    while (steady_clock::now() < until) {
    }
  }
  auto last = Watched(&context, address);
  EXPECT_TRUE(Connects(last, steady_clock::now() + testing::kDeadline));
}

}  // namespace
}  // namespace ds::compute::zmq
