#include "udp_transfer/net/datagram_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"

namespace ds::udp_transfer {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kDeadline;
using testing::LoopbackLease;
using testing::MachineHasIpv6;
using ::testing::SizeIs;

net::Endpoint Numeric(const std::string& host, std::uint16_t port = 0) {
  const auto endpoints = net::Endpoint::Resolve({host, port});
  EXPECT_TRUE(endpoints.ok()) << endpoints.status();
  return endpoints.ok() ? endpoints->front() : net::Endpoint();
}

DatagramSocket Bound(const std::string& host, const DatagramSocket::Options& options = {}) {
  auto socket = DatagramSocket::Bind(Numeric(host), options);
  EXPECT_TRUE(socket.ok()) << socket.status();
  return std::move(socket).value();
}

DatagramSocket ConnectedTo(const net::Endpoint& peer, const DatagramSocket::Options& options = {}) {
  auto socket = DatagramSocket::Connect(peer, options);
  EXPECT_TRUE(socket.ok()) << socket.status();
  return std::move(socket).value();
}

/// From now on `socket` hears `peer` only.
void ConnectTo(const DatagramSocket& socket, const DatagramSocket& peer) {
  sockaddr_in at{};
  socklen_t length = sizeof at;
  auto* const address = reinterpret_cast<sockaddr*>(&at);
  ASSERT_EQ(::getsockname(peer.fd(), address, &length), 0);
  ASSERT_EQ(::connect(socket.fd(), address, length), 0);
}

/// Appends one datagram. False if the batch is full.
bool Put(SendBatch& batch, const std::string& bytes, const Path& path = {}, std::uint64_t owner = 0,
         bool alone = false) {
  const std::span<std::byte> room = batch.Room();
  if (room.empty()) return false;
  std::memcpy(room.data(), bytes.data(), bytes.size());
  batch.Add(bytes.size(), path, owner, alone);
  return true;
}

struct Received {
  std::string bytes;
  Path path;
};

/// Waits for `count` datagrams, or what comes until the deadline.
std::vector<Received> Take(DatagramSocket& socket, std::size_t count) {
  std::vector<Received> taken;
  ReceiveBatch batch(4);
  const auto look = [&] {
    bool more = true;
    while (more) {
      more = socket.Receive(batch);
      batch.ForEach([&](std::span<std::byte> bytes, const Path& path) {
        taken.push_back(
            {std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), path});
      });
    }
    return taken.size() >= count;
  };
  EXPECT_TRUE(Eventually(kDeadline, "the datagrams have come", look));
  return taken;
}

std::vector<std::string> Contents(const std::vector<Received>& received) {
  std::vector<std::string> contents;
  for (const Received& one : received) contents.push_back(one.bytes);
  return contents;
}

std::vector<std::string> LoopbackHosts() {
  if (!MachineHasIpv6()) return {"127.0.0.1"};
  return {"127.0.0.1", "::1"};
}

/// What differs between kernels: with offload (where this one has it) and without.
class DatagramSocketTest : public ::testing::TestWithParam<bool> {
 protected:
  DatagramSocket::Options options() const { return {.offload = GetParam()}; }
};
INSTANTIATE_TEST_SUITE_P(Offload, DatagramSocketTest, ::testing::Bool());

TEST_P(DatagramSocketTest, DatagramsArriveInOrderAndWholeAndAreAnsweredAlongTheirPath) {
  for (const std::string& host : LoopbackHosts()) {
    DatagramSocket server = Bound(host, options());
    DatagramSocket client = ConnectedTo(server.local(), options());
    SendBatch out(8);
    const std::vector<std::string> sent = {
        "one", "two", "", "three and more", "four", std::string(kDatagramMax - 20, 'x'), "end"};
    for (const std::string& bytes : sent) {
      const auto room = out.Room();
      std::memcpy(room.data(), bytes.data(), bytes.size());
      out.Add(bytes.size(), {}, 0);
    }
    ASSERT_TRUE(client.Send(out));
    EXPECT_THAT(out.failures(), IsEmpty());
    const auto received = Take(server, sent.size());
    EXPECT_EQ(Contents(received), sent) << host;

    ASSERT_TRUE(Put(out, "answer", received.front().path));
    ASSERT_TRUE(server.Send(out));
    EXPECT_THAT(Contents(Take(client, 1)), ElementsAre("answer"));
  }
}

TEST_P(DatagramSocketTest, ARunOfEqualDatagramsWithAShorterLastOneArrivesAsItWasSent) {
  DatagramSocket server = Bound("127.0.0.1", options());
  DatagramSocket client = ConnectedTo(server.local(), options());
  SendBatch out(4);
  std::vector<std::string> sent;
  for (int i = 0; i < 100; ++i) sent.emplace_back(1200, static_cast<char>('a' + i % 26));
  sent.emplace_back("shorter");
  sent.emplace_back(1200, 'A');  // not in the message that the shorter one has ended
  sent.emplace_back(1200, 'B');
  for (const std::string& bytes : sent) {
    std::span<std::byte> room = out.Room();
    ASSERT_THAT(room, SizeIs(kDatagramMax));
    std::memcpy(room.data(), bytes.data(), bytes.size());
    out.Add(bytes.size(), {}, 0);
  }
  ASSERT_TRUE(client.Send(out));
  EXPECT_TRUE(out.empty());
  EXPECT_EQ(Contents(Take(server, sent.size())), sent);
}

TEST_P(DatagramSocketTest, DatagramsToSeveralPeersReachEachItsOwn) {
  DatagramSocket server = Bound("127.0.0.1", options());
  DatagramSocket first = ConnectedTo(server.local(), options());
  DatagramSocket second = ConnectedTo(server.local(), options());
  const Path to_first{.peer = ToPeerAddress(first.local())};
  const Path to_second{.peer = ToPeerAddress(second.local())};
  SendBatch out(8);
  for (const char* bytes : {"f1", "f2"}) {
    const auto room = out.Room();
    std::memcpy(room.data(), bytes, 2);
    out.Add(2, to_first, 1);
  }
  for (const char* bytes : {"s1", "s2"}) {
    const auto room = out.Room();
    std::memcpy(room.data(), bytes, 2);
    out.Add(2, to_second, 2);
  }
  const auto room = out.Room();
  std::memcpy(room.data(), "f3", 2);
  out.Add(2, to_first, 1);
  ASSERT_TRUE(server.Send(out));
  EXPECT_THAT(Contents(Take(first, 3)), ElementsAre("f1", "f2", "f3"));
  EXPECT_THAT(Contents(Take(second, 2)), ElementsAre("s1", "s2"));
}

TEST_P(DatagramSocketTest, AFullBatchGivesNoRoomUntilItWasSent) {
  DatagramSocket server = Bound("127.0.0.1", options());
  DatagramSocket client = ConnectedTo(server.local(), options());
  SendBatch out(2);
  EXPECT_TRUE(out.empty());
  ASSERT_TRUE(Put(out, "first", {}, 0, /*alone=*/true));
  ASSERT_TRUE(Put(out, "second", {}, 0, /*alone=*/true));
  EXPECT_FALSE(Put(out, "third"));
  EXPECT_FALSE(out.empty());
  ASSERT_TRUE(client.Send(out));
  EXPECT_TRUE(out.empty());
  EXPECT_TRUE(Put(out, "fourth"));
  ASSERT_TRUE(client.Send(out));
  EXPECT_THAT(Contents(Take(server, 3)), ElementsAre("first", "second", "fourth"));
}

TEST_P(DatagramSocketTest, ADatagramBeyondTheMtuFailsAloneAndNamesItsOwner) {
  if (!MachineHasIpv6()) GTEST_SKIP() << "IPv4's largest datagram fits the loopback";
  DatagramSocket server = Bound("::1", options());
  DatagramSocket client = ConnectedTo(server.local(), options());
  SendBatch out(4);
  ASSERT_TRUE(Put(out, "before", {}, 1));
  const auto room = out.Room();  // the loopback's MTU of 65536 has room for 65488
  std::memset(room.data(), 'x', kDatagramMax);
  out.Add(kDatagramMax, {}, 7, /*alone=*/true);
  ASSERT_TRUE(Put(out, "after", {}, 1));
  ASSERT_TRUE(client.Send(out));
  ASSERT_THAT(out.failures(), SizeIs(1));
  EXPECT_EQ(out.failures()[0].owner, 7U);
  EXPECT_EQ(out.failures()[0].datagram_bytes, kDatagramMax);
  EXPECT_EQ(out.failures()[0].error, EMSGSIZE);
  EXPECT_THAT(Contents(Take(server, 2)), ElementsAre("before", "after"));
}

TEST_P(DatagramSocketTest, RefusalIsReportedOnceAndEndsNothing) {
  // It has the port and hears nobody but itself.
  DatagramSocket server = Bound("127.0.0.1", options());
  ConnectTo(server, server);
  DatagramSocket client = ConnectedTo(server.local(), options());
  EXPECT_FALSE(client.TakeRefused());
  SendBatch out(4);
  ReceiveBatch in(1);
  ASSERT_TRUE(Put(out, "anybody?"));
  ASSERT_TRUE(client.Send(out));
  EXPECT_TRUE(Eventually(kDeadline, "the refusal is reported", [&] {
    client.Receive(in);
    return client.TakeRefused();
  }));
  EXPECT_FALSE(client.TakeRefused());
  // Also when all that is done is to send.
  EXPECT_TRUE(Eventually(kDeadline, "the refusal is reported to a sender", [&] {
    EXPECT_TRUE(Put(out, "anybody?"));
    EXPECT_TRUE(client.Send(out));
    EXPECT_THAT(out.failures(), IsEmpty());
    return client.TakeRefused();
  }));
  ConnectTo(server, client);
  ASSERT_TRUE(Put(out, "you!"));
  EXPECT_TRUE(client.Send(out));
  // What was said before may still have been on its way.
  EXPECT_TRUE(Eventually(kDeadline, "the last one is heard",
                         [&] { return Contents(Take(server, 1)).back() == "you!"; }));
}

TEST_P(DatagramSocketTest, AWildcardSocketAnswersFromTheAddressThatWasAsked) {
  const LoopbackLease lease(2);
  DatagramSocket server = Bound("0.0.0.0", options());
  for (std::size_t i = 0; i < 2; ++i) {
    // A connected client hears no other address than the one that it asked.
    DatagramSocket client =
        ConnectedTo(Numeric(lease.address(i), server.local().port()), options());
    SendBatch out(4);
    ASSERT_TRUE(Put(out, "asked"));
    ASSERT_TRUE(client.Send(out));
    const auto asked = Take(server, 1);
    ASSERT_TRUE(Put(out, "first", asked.front().path));
    ASSERT_TRUE(Put(out, "next", asked.front().path));
    ASSERT_TRUE(server.Send(out));
    EXPECT_THAT(Contents(Take(client, 2)), ElementsAre("first", "next"));
  }
  if (!MachineHasIpv6()) return;
  DatagramSocket server6 = Bound("::", options());
  DatagramSocket client6 = ConnectedTo(Numeric("::1", server6.local().port()), options());
  SendBatch out(4);
  ASSERT_TRUE(Put(out, "asked"));
  ASSERT_TRUE(client6.Send(out));
  ASSERT_TRUE(Put(out, "answered", Take(server6, 1).front().path));
  ASSERT_TRUE(server6.Send(out));
  EXPECT_THAT(Contents(Take(client6, 1)), ElementsAre("answered"));
}

TEST_P(DatagramSocketTest, MoreThanTheReceiverHoldsIsLostWithoutHarm) {
  DatagramSocket::Options small = options();
  small.receive_buffer_bytes = 4096;
  DatagramSocket server = Bound("127.0.0.1", small);
  DatagramSocket client = ConnectedTo(server.local(), options());
  SendBatch out(16);
  const std::string bytes(1200, 'x');
  for (int i = 0; i < 1000; ++i) {
    while (!Put(out, bytes)) ASSERT_TRUE(client.Send(out));
  }
  ASSERT_TRUE(client.Send(out));
  const auto received = Contents(Take(server, 1));
  EXPECT_LT(received.size(), 1000U);
  EXPECT_THAT(received, Each(bytes));
}

TEST(DatagramSocketBindTest, AnAddressInUseIsAnErrorThatNamesTheAddress) {
  const DatagramSocket first = Bound("127.0.0.1");
  const auto second = DatagramSocket::Bind(first.local(), {});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(Message(second.status()), HasSubstr("bind " + first.local().ToString() + ": "));
  EXPECT_THAT(Message(second.status()), HasSubstr("is another server running?"));
}

TEST(DatagramSocketBindTest, APortOfLoopbackIsTheSameInBothFamilies) {
  const auto sockets = DatagramSocket::BindLoopback(0, {});
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  ASSERT_THAT(*sockets, SizeIs(MachineHasIpv6() ? 2 : 1));
  for (const DatagramSocket& socket : *sockets) {
    EXPECT_TRUE(socket.local().IsLoopback());
    EXPECT_EQ(socket.local().port(), sockets->front().local().port());
  }
  const auto again = DatagramSocket::BindLoopback(sockets->front().local().port(), {});
  EXPECT_FALSE(again.ok());
}

TEST(PathTest, AddressesSurviveTheWayToTheCoreAndBack) {
  for (const std::string host : {"127.0.0.1", "192.0.2.77", "::1", "2001:db8::5"}) {
    const net::Endpoint endpoint = Numeric(host, 4711);
    EXPECT_EQ(ToEndpoint(ToPeerAddress(endpoint)).ToString(), endpoint.ToString());
  }
  EXPECT_NE(ToPeerAddress(Numeric("127.0.0.1", 1)), ToPeerAddress(Numeric("127.0.0.1", 2)));
}

}  // namespace
}  // namespace ds::udp_transfer
