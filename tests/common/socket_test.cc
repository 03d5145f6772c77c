#include "common/net/socket.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"

namespace ds::net {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using testing::kDeadline;
using ::testing::SizeIs;

Endpoint Numeric(const std::string& host, std::uint16_t port) {
  const auto endpoints = Endpoint::Resolve({host, port});
  EXPECT_TRUE(endpoints.ok()) << endpoints.status();
  return endpoints.ok() ? endpoints->front() : Endpoint();
}

UniqueFd ReadableFd() { return UniqueFd(::eventfd(1, EFD_CLOEXEC)); }
UniqueFd SilentFd() { return UniqueFd(::eventfd(0, EFD_CLOEXEC)); }

TEST(ListenLoopbackTest, RunningOutOfDescriptorsIsNotTakenForAMachineWithoutIpv6) {
  if (!testing::MachineHasIpv6()) GTEST_SKIP() << "no IPv6 on this machine";
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  bool listened = false;
  for (rlim_t limit = 3; limit < 64 && !listened; ++limit) {
    const rlimit tight{limit, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
    const auto listeners = ListenLoopback(0);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    listened = listeners.ok();
    if (listened) {
      EXPECT_THAT(*listeners, SizeIs(2)) << "with " << limit << " descriptors";
    }
  }
  EXPECT_TRUE(listened);
}

TEST(RaiseDescriptorLimitTest, TheSoftLimitBecomesTheHardOne) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit tight{64, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  EXPECT_EQ(RaiseDescriptorLimit(), before.rlim_max);
  rlimit after{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

/// A connection over loopback, both ends.
struct Connection {
  UniqueFd client;
  UniqueFd server;
};

Connection Connect(const Listener& listener) {
  auto client = ConnectTcp({listener.local}, kDeadline, -1);
  EXPECT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(WaitFor(listener.socket.get(), POLLIN, kDeadline, -1).ok());
  return {*std::move(client), UniqueFd(::accept(listener.socket.get(), nullptr, nullptr))};
}

TEST(ListenTcpTest, BoundPortIsTold) {
  const auto listener = ListenTcp(Numeric("127.0.0.1", 0));
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_NE(listener->local.port(), 0);
  EXPECT_EQ(listener->local.Host(), "127.0.0.1");
  const Connection connection = Connect(*listener);
  EXPECT_TRUE(connection.server);
}

TEST(ListenTcpTest, SocketIsNonBlockingAndClosedOnExec) {
  const auto listener = ListenTcp(Numeric("127.0.0.1", 0));
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_NE(::fcntl(listener->socket.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(::fcntl(listener->socket.get(), F_GETFD), FD_CLOEXEC);
}

TEST(ListenTcpTest, AddressInUseSaysWhatToDo) {
  const auto first = ListenTcp(Numeric("127.0.0.1", 0));
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = ListenTcp(first->local);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(second.status()), HasSubstr("bind " + first->local.ToString() + ":"));
  EXPECT_THAT(Message(second.status()), HasSubstr("is another server running?"));
}

TEST(ListenTcpTest, AddressThatIsNotOursIsNamed) {
  const auto listener = ListenTcp(Numeric("192.0.2.1", 0));
  ASSERT_FALSE(listener.ok());
  EXPECT_THAT(Message(listener.status()), HasSubstr("bind 192.0.2.1:0:"));
}

TEST(ListenTcpTest, PortIsFreeAtOnceForTheNextServer) {
  auto listener = ListenTcp(Numeric("127.0.0.1", 0));
  ASSERT_TRUE(listener.ok()) << listener.status();
  const Endpoint local = listener->local;
  {
    Connection connection = Connect(*listener);
    // The server's side closes first, so the port has a connection in TIME_WAIT.
    connection.server.Reset();
    EXPECT_TRUE(WaitFor(connection.client.get(), POLLIN, kDeadline, -1).ok());
  }
  listener->socket.Reset();
  EXPECT_TRUE(ListenTcp(local).ok());
}

TEST(ListenLoopbackTest, PortZeroIsTheSamePortOnBothFamilies) {
  const bool ipv6 = testing::MachineHasIpv6();
  const auto listeners = ListenLoopback(0);
  ASSERT_TRUE(listeners.ok()) << listeners.status();
  ASSERT_THAT(*listeners, SizeIs(ipv6 ? 2 : 1));
  EXPECT_EQ(listeners->at(0).local.Host(), "127.0.0.1");
  if (!ipv6) return;
  EXPECT_EQ(listeners->at(1).local.Host(), "::1");
  EXPECT_NE(listeners->at(0).local.port(), 0);
  EXPECT_EQ(listeners->at(0).local.port(), listeners->at(1).local.port());
}

TEST(ListenLoopbackTest, PortInUseIsAnError) {
  const auto first = ListenLoopback(0);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = ListenLoopback(first->front().local.port());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

TEST(ListenLoopbackTest, PortInUseOnIpv6OnlyIsAnErrorToo) {
  if (!testing::MachineHasIpv6()) GTEST_SKIP() << "no IPv6 here";
  const auto other = ListenTcp(Numeric("::1", 0));
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_FALSE(ListenLoopback(other->local.port()).ok());
}

TEST(ConnectTcpTest, RefusedConnectionNamesTheAddress) {
  const testing::LoopbackLease lease(1);
  const Endpoint nobody = Numeric(lease.address(0), 1);
  const auto connected = ConnectTcp({nobody}, kDeadline, -1);
  ASSERT_FALSE(connected.ok());
  EXPECT_EQ(connected.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(connected.status()), HasSubstr("connect " + nobody.ToString() + ":"));
}

TEST(ConnectTcpTest, NextAddressIsTriedAfterARefusal) {
  const testing::LoopbackLease lease(1);
  const auto listener = ListenTcp(Numeric("127.0.0.1", 0));
  ASSERT_TRUE(listener.ok()) << listener.status();
  const auto connected = ConnectTcp({Numeric(lease.address(0), 1), listener->local}, kDeadline, -1);
  EXPECT_TRUE(connected.ok()) << connected.status();
}

TEST(ConnectTcpTest, NoAddressIsAnError) { EXPECT_FALSE(ConnectTcp({}, kDeadline, -1).ok()); }

TEST(ConnectTcpTest, SocketIsNonBlockingAndClosedOnExec) {
  const auto listener = ListenTcp(Numeric("127.0.0.1", 0));
  ASSERT_TRUE(listener.ok()) << listener.status();
  const Connection connection = Connect(*listener);
  EXPECT_NE(::fcntl(connection.client.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(::fcntl(connection.client.get(), F_GETFD), FD_CLOEXEC);
}

TEST(WaitForTest, ReadyDescriptorIsFine) {
  const UniqueFd ready = ReadableFd();
  const UniqueFd silent = SilentFd();
  EXPECT_TRUE(WaitFor(ready.get(), POLLIN, kDeadline, -1).ok());
  EXPECT_TRUE(WaitFor(ready.get(), POLLIN, Duration::zero(), silent.get()).ok());
}

TEST(WaitForTest, SilenceMeetsTheDeadline) {
  const UniqueFd silent = SilentFd();
  const absl::Status status = WaitFor(silent.get(), POLLIN, std::chrono::milliseconds(1), -1);
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(WaitForTest, CancelWinsOverEverything) {
  const UniqueFd ready = ReadableFd();
  const UniqueFd silent = SilentFd();
  const UniqueFd cancel = ReadableFd();
  EXPECT_EQ(WaitFor(silent.get(), POLLIN, Duration::zero(), cancel.get()).code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(WaitFor(ready.get(), POLLIN, kDeadline, cancel.get()).code(),
            absl::StatusCode::kCancelled);
}

TEST(LocalEndpointTest, BadDescriptorIsAnError) { EXPECT_FALSE(LocalEndpoint(-1).ok()); }

TEST(UnacknowledgedBytesTest, CountsWhatThePeerHasNotTaken) {
  const auto listener = ListenTcp(Numeric("127.0.0.1", 0));
  ASSERT_TRUE(listener.ok()) << listener.status();
  const Connection connection = Connect(*listener);
  EXPECT_EQ(UnacknowledgedBytes(connection.client.get()), 0U);
  // Until neither end's buffer takes any more: what does not fit at the peer stays here.
  const std::string block(1U << 16U, 'x');
  while (::send(connection.client.get(), block.data(), block.size(), MSG_DONTWAIT) > 0) {
  }
  EXPECT_GT(UnacknowledgedBytes(connection.client.get()), 0U);
  std::string sink(1U << 16U, '\0');
  EXPECT_TRUE(Eventually(kDeadline, "all is acknowledged", [&] {
    while (::recv(connection.server.get(), sink.data(), sink.size(), MSG_DONTWAIT) > 0) {
    }
    return UnacknowledgedBytes(connection.client.get()) == 0;
  }));
  EXPECT_EQ(UnacknowledgedBytes(-1), 0U);
}

}  // namespace
}  // namespace ds::net
