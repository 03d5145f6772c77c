#include "common/shm/seqpacket.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace ds::shm {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::size_t kBuffer = 64;

struct Pair {
  UniqueFd here;
  UniqueFd there;
};

Pair Connect() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::size_t OpenDescriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

/// `count` descriptors, each an eventfd with its index + 1 in it.
std::vector<UniqueFd> EventFds(std::size_t count) {
  std::vector<UniqueFd> fds;
  for (std::size_t i = 0; i < count; ++i) {
    fds.emplace_back(::eventfd(static_cast<unsigned>(i + 1), EFD_CLOEXEC));
  }
  return fds;
}

absl::StatusOr<SendResult> Send(const UniqueFd& socket, std::string_view text,
                                const std::vector<UniqueFd>& fds) {
  std::vector<int> numbers;
  numbers.reserve(fds.size());
  for (const UniqueFd& fd : fds) numbers.push_back(fd.get());
  return SendPacket(socket.get(), Bytes(text), numbers);
}

struct Inbox {
  std::array<std::byte, kBuffer> buffer{};
  absl::StatusOr<Received> received{Received{}};

  std::string_view text() const {
    return {reinterpret_cast<const char*>(buffer.data()), received->bytes};
  }
};

Inbox Receive(const UniqueFd& socket, std::size_t descriptors_max) {
  Inbox inbox;
  inbox.received = ReceivePacket(socket.get(), inbox.buffer, descriptors_max);
  return inbox;
}

TEST(SeqpacketTest, PacketsKeepTheirBordersAndOrder) {
  const Pair pair = Connect();
  ASSERT_EQ(*Send(pair.here, "one", {}), SendResult::kSent);
  ASSERT_EQ(*Send(pair.here, "three", {}), SendResult::kSent);
  for (const std::string_view expected : {"one", "three"}) {
    const Inbox inbox = Receive(pair.there, 0);
    ASSERT_TRUE(inbox.received.ok()) << inbox.received.status();
    EXPECT_EQ(inbox.received->kind, Received::Kind::kPacket);
    EXPECT_EQ(inbox.text(), expected);
  }
  EXPECT_EQ(Receive(pair.there, 0).received->kind, Received::Kind::kNothing);
}

TEST(SeqpacketTest, DescriptorsArriveInOrderAndDoNotReachOtherPrograms) {
  for (const std::size_t count : {std::size_t{1}, std::size_t{3}, kDescriptorsMax}) {
    const Pair pair = Connect();
    ASSERT_EQ(*Send(pair.here, "x", EventFds(count)), SendResult::kSent);
    const Inbox inbox = Receive(pair.there, count);
    ASSERT_TRUE(inbox.received.ok()) << inbox.received.status();
    ASSERT_THAT(inbox.received->descriptors, SizeIs(count));
    for (std::size_t i = 0; i < count; ++i) {
      const int fd = inbox.received->descriptors[i].get();
      std::uint64_t value = 0;
      ASSERT_EQ(::read(fd, &value, sizeof value), static_cast<ssize_t>(sizeof value));
      EXPECT_EQ(value, i + 1);
      EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
    }
  }
}

TEST(SeqpacketTest, DescriptorsThatWereNotExpectedAreClosedAndThePacketIsRefused) {
  const std::size_t before = OpenDescriptors();
  // 1 of 0, 2 of 1 (which the padding has room for), 4 of 3, many of few.
  const std::pair<std::size_t, std::size_t> table[] = {{1, 0}, {2, 1}, {4, 3}, {64, 2}, {5, 0}};
  for (const auto& [sent, expected] : table) {
    const Pair pair = Connect();
    ASSERT_EQ(*Send(pair.here, "x", EventFds(sent)), SendResult::kSent);
    const std::size_t with_pair = OpenDescriptors();
    const auto received = Receive(pair.there, expected).received;
    EXPECT_EQ(received.status().code(), absl::StatusCode::kInvalidArgument) << sent;
    EXPECT_EQ(OpenDescriptors(), with_pair) << sent;
  }
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST(SeqpacketTest, FewerDescriptorsThanExpectedAreTheCallersBusiness) {
  const Pair pair = Connect();
  ASSERT_EQ(*Send(pair.here, "x", {}), SendResult::kSent);
  const Inbox inbox = Receive(pair.there, 2);
  ASSERT_TRUE(inbox.received.ok()) << inbox.received.status();
  EXPECT_THAT(inbox.received->descriptors, IsEmpty());
}

TEST(SeqpacketTest, DescriptorsLostForWantOfRoomInThisProcessAreAnError) {
  const Pair pair = Connect();
  ASSERT_EQ(*Send(pair.here, "x", EventFds(8)), SendResult::kSent);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const UniqueFd lowest_free(::eventfd(0, EFD_CLOEXEC));
  const rlimit tight{static_cast<rlim_t>(lowest_free.get()) + 3, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  const auto received = Receive(pair.there, 8).received;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(received.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(received.status()), HasSubstr("too many open files"));
  const UniqueFd next_free(::eventfd(0, EFD_CLOEXEC));
  EXPECT_EQ(next_free.get(), lowest_free.get() + 1) << "something was left open";
}

TEST(SeqpacketTest, PacketLongerThanTheBufferIsRefusedWithItsDescriptors) {
  const Pair pair = Connect();
  ASSERT_EQ(*Send(pair.here, std::string(kBuffer + 1, 'x'), EventFds(1)), SendResult::kSent);
  const std::size_t before = OpenDescriptors();
  const auto received = Receive(pair.there, 1).received;
  EXPECT_THAT(Message(received.status()), HasSubstr("longer than 64 bytes"));
  EXPECT_EQ(OpenDescriptors(), before);
  ASSERT_EQ(*Send(pair.here, std::string(kBuffer, 'x'), {}), SendResult::kSent);
  EXPECT_EQ(Receive(pair.there, 1).received->bytes, kBuffer);
}

TEST(SeqpacketTest, PeerThatDoesNotReadIsNotWaitedFor) {
  const Pair pair = Connect();
  int sent = 0;
  absl::StatusOr<SendResult> result = SendResult::kSent;
  while ((result = Send(pair.here, "x", {})).ok() && *result == SendResult::kSent) ++sent;
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(*result, SendResult::kWouldBlock);
  EXPECT_GT(sent, 0);
}

TEST(SeqpacketTest, EndOfThePeerIsToldAfterItsLastPacket) {
  Pair pair = Connect();
  ASSERT_EQ(*Send(pair.here, "last", {}), SendResult::kSent);
  pair.here.Reset();
  EXPECT_EQ(Receive(pair.there, 0).text(), "last");
  EXPECT_EQ(Receive(pair.there, 0).received->kind, Received::Kind::kEnd);
  EXPECT_EQ(Send(pair.there, "x", {}).status().code(), absl::StatusCode::kUnavailable);
}

TEST(SeqpacketTest, PeerThatEndsWithOurPacketsUnreadHasEnded) {
  Pair pair = Connect();
  ASSERT_EQ(*Send(pair.there, "unread", {}), SendResult::kSent);
  pair.here.Reset();
  EXPECT_EQ(Receive(pair.there, 0).received->kind, Received::Kind::kEnd);
}

TEST(SeqpacketTest, EmptyPacketCountsAsTheEnd) {
  const Pair pair = Connect();
  ASSERT_EQ(::send(pair.here.get(), "", 0, 0), 0);
  EXPECT_EQ(Receive(pair.there, 0).received->kind, Received::Kind::kEnd);
}

TEST(SeqpacketTest, CredentialsOfThePeerAreTold) {
  const Pair pair = Connect();
  const auto peer = CredentialsOfPeer(pair.here.get());
  ASSERT_TRUE(peer.ok()) << peer.status();
  EXPECT_EQ(peer->pid, ::getpid());
  EXPECT_EQ(peer->uid, ::getuid());
  EXPECT_EQ(peer->gid, ::getgid());
  EXPECT_FALSE(CredentialsOfPeer(-1).ok());
}

TEST(SeqpacketTest, SocketThatIsNoneIsAnError) {
  EXPECT_FALSE(Send(UniqueFd(), "x", {}).ok());
  EXPECT_FALSE(Receive(UniqueFd(), 0).received.ok());
}

}  // namespace
}  // namespace ds::shm
