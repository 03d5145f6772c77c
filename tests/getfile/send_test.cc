#include "getfile/front/send.h"

#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <optional>
#include <string>
#include <utility>

#include "common/base/check.h"
#include "common/base/unique_fd.h"
#include "common/net/endpoint.h"
#include "common/net/socket.h"
#include "tests/harness/raw_peer.h"

namespace ds::getfile {
namespace {

using testing::RawPeer;
using Outcome = Body::Outcome;

class SendTest : public ::testing::Test {
 protected:
  SendTest() {
    CHECK(std::signal(SIGPIPE, SIG_IGN) != SIG_ERR);  // as every daemon does
    const auto endpoints = net::Endpoint::Resolve({"127.0.0.1", 0});
    CHECK(endpoints.ok());
    auto listener = net::ListenTcp(endpoints->front());
    CHECK(listener.ok());
    auto peer = RawPeer::Connect("127.0.0.1", listener->local.port());
    CHECK(peer.ok());
    peer_.emplace(std::move(peer).value());
    while (!socket_) {
      socket_.Reset(::accept4(listener->socket.get(), nullptr, nullptr, SOCK_NONBLOCK));
    }
    file_.Reset(::memfd_create("file", MFD_CLOEXEC));
    CHECK(::write(file_.get(), "0123456789", 10) == 10);
  }

  /// Bytes that the kernel has and has not sent, though the peer's window is open.
  int Held() const {
    int bytes = -1;
    ::ioctl(socket_.get(), SIOCOUTQNSD, &bytes);
    return bytes;
  }

  UniqueFd socket_;
  UniqueFd file_;
  std::optional<RawPeer> peer_;
};

TEST_F(SendTest, HeadAndBytesOfMemoryArrive) {
  const auto sent = SendFromMemory(socket_.get(), "head ", "body", false);
  EXPECT_EQ(sent.outcome, Outcome::kSent);
  EXPECT_EQ(sent.bytes, 9U);
  EXPECT_EQ(Held(), 0);
  EXPECT_EQ(SendFromMemory(socket_.get(), "h", "", false).bytes, 1U);
  EXPECT_EQ(SendFromMemory(socket_.get(), "", "b", false).bytes, 1U);
  EXPECT_EQ(peer_->Read(11).bytes, "head bodyhb");
}

TEST_F(SendTest, HeadAndPartOfAFileArriveAndItsPositionStays) {
  const off_t before = ::lseek(file_.get(), 0, SEEK_CUR);
  const auto sent = SendFromFile(socket_.get(), "head ", file_.get(), 3, 4, false);
  EXPECT_EQ(sent.outcome, Outcome::kSent);
  EXPECT_EQ(sent.bytes, 9U);
  EXPECT_EQ(Held(), 0) << "the head was not the end";
  EXPECT_EQ(peer_->Read(9).bytes, "head 3456");
  EXPECT_EQ(::lseek(file_.get(), 0, SEEK_CUR), before);
}

TEST_F(SendTest, WhatIsHeldBackLeavesWhenItIsAskedToOrAtTheEnd) {
  SendFromMemory(socket_.get(), "head ", "body", true);
  EXPECT_EQ(Held(), 9);
  SendHeld(socket_.get());
  EXPECT_EQ(Held(), 0);
  EXPECT_EQ(peer_->Read(9).bytes, "head body");
  SendFromFile(socket_.get(), "head ", file_.get(), 0, 10, true);
  EXPECT_EQ(Held(), 15);
  SendHeld(socket_.get());
  EXPECT_EQ(Held(), 0);
  EXPECT_EQ(peer_->Read(15).bytes, "head 0123456789");
  SendHeld(socket_.get());
  SendFromMemory(socket_.get(), "", "tail", true);
  ::shutdown(socket_.get(), SHUT_WR);
  EXPECT_EQ(peer_->ReadToEnd().bytes, "tail");
}

TEST_F(SendTest, FileThatEndsBeforeIsABrokenSourceAfterWhatItHad) {
  const auto sent = SendFromFile(socket_.get(), "head ", file_.get(), 10, 1, false);
  EXPECT_EQ(sent.outcome, Outcome::kSourceBroken);
  EXPECT_EQ(sent.bytes, 5U);
  EXPECT_EQ(SendFromFile(socket_.get(), "", -1, 0, 1, false).outcome, Outcome::kSourceBroken);
}

TEST_F(SendTest, FullSocketTakesNoMoreAndSaysSo) {
  const std::string large(1 << 20, 'x');
  Body::Sent sent;
  for (int i = 0; i < 1000 && sent.outcome == Outcome::kSent; ++i) {
    sent = SendFromMemory(socket_.get(), "", large, false);
  }
  EXPECT_EQ(sent.outcome, Outcome::kSocketFull);
  while (::send(socket_.get(), "x", 1, MSG_DONTWAIT) == 1) {
  }
  sent = SendFromMemory(socket_.get(), "head", large, false);
  EXPECT_EQ(sent.outcome, Outcome::kSocketFull);
  EXPECT_EQ(sent.bytes, 0U);
  sent = SendFromFile(socket_.get(), "", file_.get(), 0, 10, false);
  EXPECT_EQ(sent.outcome, Outcome::kSocketFull);
  EXPECT_EQ(sent.bytes, 0U);
}

TEST_F(SendTest, PeerThatHasResetIsGone) {
  peer_->Reset();
  EXPECT_EQ(SendFromMemory(socket_.get(), "head ", "body", false).outcome, Outcome::kPeerGone);
  EXPECT_EQ(SendFromFile(socket_.get(), "", file_.get(), 0, 10, false).outcome, Outcome::kPeerGone);
}

}  // namespace
}  // namespace ds::getfile
