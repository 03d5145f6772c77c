#include "tests/udp_transfer/foreign_classic.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "tests/harness/eventually.h"
#include "tests/udp_transfer/classic_text.h"
#include "udp_transfer/core/discovery.h"

// The cores over real sockets, each with a foreign peer.

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;
using ds::testing::DatagramPeer;
using ds::testing::ForeignClassicServer;
using ds::testing::ForeignSend;

std::string Pattern(std::size_t size) {
  std::string content(size, '\0');
  for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 7 + i / 251);
  return content;
}

std::string Separators(std::size_t size) {
  std::string content(size, '\0');
  for (std::size_t i = 0; i < size; ++i) content[i] = " | "[i % 3];
  return content;
}

std::vector<std::string> Contents() {
  std::vector<std::string> contents;
  for (const std::size_t size : std::vector<std::size_t>{0, 1, 1015, 1016, 1017, 2032, 50'000}) {
    contents.push_back(Pattern(size));
  }
  contents.push_back(Separators(3000));
  return contents;
}

/// As large and as ASCII as the real one.
std::string Hello() {
  std::string hello = "f | 0 | " + std::string(84, 'e');
  hello.resize(1200, ' ');
  return hello;
}

/// Our client, to its end.
Discovery Send(std::uint16_t port, const std::string& content, Discovery::Mode mode,
               std::uint64_t seqno0 = 0) {
  const auto now = [] { return std::chrono::steady_clock::now(); };
  DatagramPeer socket("127.0.0.1", port);
  Discovery client({.mode = mode,
                    .timeout = 10s,
                    .classic = {.name = "f", .total_bytes = content.size(), .seqno0 = seqno0}},
                   now());
  std::vector<std::byte> out(kClassicDatagramBytesMax);
  while (client.outcome() == Discovery::Outcome::kRunning) {
    if (const auto wanted = client.classic()->Wanted()) {
      std::ranges::copy(Bytes(content).subspan(wanted->offset, wanted->room.size()),
                        wanted->room.begin());
      client.classic()->Supplied();
    }
    while (const auto datagram = client.PollTransmit(out, now())) {
      socket.Send(datagram->hello ? Hello() : Text(std::span(out).first(datagram->bytes)));
    }
    const auto wait = std::max(*client.NextDeadline() - now(), Duration(0));
    if (const auto answer = socket.Receive(wait / ds::testing::kSlowdown)) {
      client.HandleDatagram(Bytes(*answer), now());
    } else {
      client.HandleTimeout(now());
    }
  }
  return client;
}

TEST(ForeignClassicTest, OurClientSendsToAForeignServerWithAnyOfItsTraps) {
  using Options = ForeignClassicServer::Options;
  for (const Options& options :
       {Options{}, Options{.buf_bytes = 65'507}, Options{.takes_future_data = true},
        Options{.silent_on_extra_fields = true}, Options{.takes_unknown_types_for_data = true},
        Options{.takes_future_data = true,
        .silent_on_extra_fields = true,
        .takes_unknown_types_for_data = true}}) {
    for (const std::string& content : Contents()) {
      ForeignClassicServer server(options);
      const Discovery client = Send(server.port(), content, Discovery::Mode::kAuto);
      EXPECT_EQ(client.outcome(), Discovery::Outcome::kClassicDone);
      EXPECT_EQ(server.File("f"), content);
    }
  }
}

TEST(ForeignClassicTest, HellosAreAsciiAndKillNoServerThatDecodesIt) {
  ForeignClassicServer server({.takes_unknown_types_for_data = true, .dies_of_other_bytes = true});
  const std::string content = Separators(5000);
  const Discovery client = Send(server.port(), content, Discovery::Mode::kAuto);
  EXPECT_EQ(client.outcome(), Discovery::Outcome::kClassicDone);
  EXPECT_EQ(server.File("f"), content);
  EXPECT_GE(server.Seen("f | "), 1U);
  EXPECT_FALSE(server.dead());
  DatagramPeer("127.0.0.1", server.port()).Send("\xff");
  EXPECT_TRUE(ds::testing::Eventually(ds::testing::kDeadline, "the trap works",
                                      [&] { return server.dead(); }));
}

TEST(ForeignClassicTest, OurClientRepeatsWhatIsNotAcknowledged) {
  ForeignClassicServer server({.loses_first_acks = true});
  const Discovery client = Send(server.port(), Pattern(1500), Discovery::Mode::kAuto, 9);
  EXPECT_EQ(client.outcome(), Discovery::Outcome::kClassicDone);
  EXPECT_EQ(server.File("f"), Pattern(1500));
  EXPECT_EQ(server.Seen("s | "), 2U);
  EXPECT_EQ(server.Seen("d | 10 | "), 2U);
  EXPECT_EQ(server.Seen("d | 11 | "), 2U);
}

/// Our server in a thread, its files in memory.
class OurServer {
 public:
  explicit OurServer(const ClassicServer::Options& options) : server_(options) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    CHECK(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
    CHECK(getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) ServeOne();
    });
  }
  ~OurServer() {
    thread_.request_stop();
    DatagramPeer("127.0.0.1", port_).Send("wake up");
  }

  std::uint16_t port() const { return port_; }
  std::string File(const std::string& name) {
    const std::scoped_lock lock(mutex_);
    return files_[name];
  }

 private:
  struct Unfinished {
    std::string name;
    std::string content;
  };

  void ServeOne() {
    std::string datagram(kClassicDatagramBytesMax, '\0');
    sockaddr_in address{};
    socklen_t length = sizeof(address);
    const ssize_t size = recvfrom(socket_.get(), datagram.data(), datagram.size(), 0,
                                  reinterpret_cast<sockaddr*>(&address), &length);
    if (size < 0) return;
    datagram.resize(static_cast<std::size_t>(size));
    const PeerAddress from = PeerAt(1, ntohs(address.sin_port));
    Do(server_.HandleDatagram(from, Bytes(datagram), std::chrono::steady_clock::now()), address);
  }

  void Do(ClassicServer::Effects effects, const sockaddr_in& address) {
    std::optional<ClassicSession> waiting;
    for (const auto& effect : effects) {
      if (const auto* create = std::get_if<ClassicServer::Create>(&effect)) {
        unfinished_[create->session] = {std::string(create->name), ""};
        waiting = create->session;
      } else if (const auto* append = std::get_if<ClassicServer::Append>(&effect)) {
        unfinished_[append->session].content += Text(append->bytes);
        waiting = append->session;
      } else if (const auto* complete = std::get_if<ClassicServer::Complete>(&effect)) {
        const Unfinished& file = unfinished_[complete->session];
        const std::scoped_lock lock(mutex_);
        files_[file.name] = file.content;
      } else if (const auto* send = std::get_if<ClassicServer::Send>(&effect)) {
        sendto(socket_.get(), send->bytes().data(), send->size, 0,
               reinterpret_cast<const sockaddr*>(&address), sizeof(address));
      }
    }
    if (waiting) Do(server_.Stored(*waiting, std::chrono::steady_clock::now()), address);
  }

  UniqueFd socket_{socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  std::uint16_t port_ = 0;
  ClassicServer server_;
  std::map<ClassicSession, Unfinished> unfinished_;
  std::mutex mutex_;
  std::map<std::string, std::string> files_;  ///< guarded by mutex_
  std::jthread thread_;
};

TEST(ForeignClassicTest, AForeignClientSendsToOurServer) {
  for (const std::string& content : Contents()) {
    for (const std::uint64_t seqno0 : std::vector<std::uint64_t>{0, 8, 1000}) {
      OurServer server({});
      DatagramPeer socket("127.0.0.1", server.port());
      const auto result =
          SendAsForeignClient(socket, {.name = "a | b", .content = content, .seqno0 = seqno0});
      EXPECT_TRUE(result.done) << result.error;
      EXPECT_EQ(result.buf_bytes, 1024U);
      EXPECT_EQ(server.File("a | b"), content);
    }
  }
}

TEST(ForeignClassicTest, TenThousandMessagesOfAForeignClientAreTaken) {
  OurServer server({.buf_bytes = 20});
  DatagramPeer socket("127.0.0.1", server.port());
  const std::string content = Pattern(10'000 * 10);
  const auto result = SendAsForeignClient(socket, {.name = "f", .content = content});
  EXPECT_TRUE(result.done) << result.error;
  EXPECT_GT(result.messages, 10'000);
  EXPECT_EQ(server.File("f"), content);
}

TEST(ForeignClassicTest, AForeignClientMaySendEmptyDataForAnEmptyFile) {
  OurServer server({});
  DatagramPeer socket("127.0.0.1", server.port());
  const auto result =
      SendAsForeignClient(socket, {.name = "f", .content = "", .empty_data_for_empty_file = true});
  EXPECT_TRUE(result.done) << result.error;
  EXPECT_EQ(result.messages, 2);
  EXPECT_EQ(server.File("f"), "");
}

TEST(ForeignClassicTest, ForeignPeersUnderstandEachOther) {
  for (const std::string& content : Contents()) {
    ForeignClassicServer server({});
    DatagramPeer socket("127.0.0.1", server.port());
    EXPECT_TRUE(SendAsForeignClient(socket, {.name = "f", .content = content}).done);
    EXPECT_EQ(server.File("f"), content);
  }
}

TEST(ForeignClassicTest, TheTrapsOfTheForeignServerAreThere) {
  constexpr std::string_view kSilence = "a | 1 | 1024";  // the answer to what is sent behind it
  const auto ask = [](const ForeignClassicServer::Options& options, std::string_view datagram) {
    ForeignClassicServer server(options);
    DatagramPeer socket("127.0.0.1", server.port());
    EXPECT_EQ(socket.Ask("s | 0 | f | 9"), "a | 1 | 1024");
    socket.Send(datagram);
    return socket.Ask("s | 0 | f | 9");
  };
  EXPECT_EQ(ask({}, "d | 5 | x"), "a | 1");
  EXPECT_EQ(ask({.takes_future_data = true}, "d | 5 | x"), "a | 6");
  EXPECT_EQ(ask({}, "f | 5 | x"), kSilence);
  EXPECT_EQ(ask({.takes_unknown_types_for_data = true}, "f | 0 | x"), "a | 1");
  EXPECT_EQ(ask({.takes_unknown_types_for_data = true}, "f | 1 | x"), "a | 2") << "taken!";
  EXPECT_EQ(ask({}, "s | 4 | f | 9 | x"), "a | 5 | 1024");
  EXPECT_EQ(ask({.silent_on_extra_fields = true}, "s | 4 | f | 9 | x"), kSilence);
}

}  // namespace
}  // namespace ds::udp_transfer
