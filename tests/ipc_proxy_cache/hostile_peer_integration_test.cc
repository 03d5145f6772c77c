#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/base/unique_fd.h"
#include "tests/getfile/getfile_server.h"
#include "tests/harness/eventually.h"
#include "tests/harness/fake_server.h"
#include "tests/ipc_proxy_cache/nginx_origin.h"
#include "tests/ipc_proxy_cache/proxies.h"

// Peers on the cache's socket that no proxy would be. Whatever they say, the cache lives, counts
// it, and serves the others; and of those who have gone nothing is left.

namespace ds::ipc_proxy_cache {
namespace {

using getfile::Content;
using testing::Eventually;
using testing::FakeServer;
using testing::kDeadline;

// Types of messages, as ARCHITECTURE.md and core/messages.h have them, written out once more.
enum Type : std::uint16_t {
  kHello = 1,
  kWelcome = 2,
  kWant = 3,
  kLead = 5,
  kPassed = 7,
  kBegin = 8,
  kBegun = 9,
  kInsert = 10,
  kData = 11,
  kEnd = 14,
  kEnded = 15,
  kAlive = 16,
  kLeave = 18,
  kOpen = 19,
  kReleased = 21,
  kRetired = 22,
  kHits = 23,
  kCopy = 24,
  kPurge = 26,
  kStatus = 28,
  kReport = 29,
  kRead = 30,
};

constexpr std::uint16_t kVersion = 2;

/// A packet, built field by field.
class Packet {
 public:
  explicit Packet(std::uint16_t type, std::uint16_t version = kVersion) {
    U16(type).U16(version).U32(0);
  }
  Packet& U8(std::uint8_t value) { return Append(&value, sizeof value); }
  Packet& U16(std::uint16_t value) { return Append(&value, sizeof value); }
  Packet& U32(std::uint32_t value) { return Append(&value, sizeof value); }
  Packet& U64(std::uint64_t value) { return Append(&value, sizeof value); }
  Packet& Text(std::string_view text) {
    U32(static_cast<std::uint32_t>(text.size()));
    return Append(text.data(), text.size());
  }
  /// A segment: index, token, bytes.
  Packet& Segment(std::uint32_t index, std::uint64_t token, std::uint64_t bytes) {
    return U32(index).U64(token).U64(bytes);
  }
  /// Fresh for an hour, as CLOCK_MONOTONIC counts (on Linux the steady clock): age 0 now, a
  /// lifetime, no time as stale, no must-revalidate.
  Packet& Freshness() {
    const std::chrono::nanoseconds now = std::chrono::steady_clock::now().time_since_epoch();
    const std::chrono::nanoseconds lifetime = std::chrono::hours(1);
    return U64(static_cast<std::uint64_t>(now.count()))
        .U8(1)
        .U64(static_cast<std::uint64_t>(lifetime.count()))
        .U64(0)
        .U8(0);
  }
  /// With its length filled in.
  std::string bytes() const {
    std::string packet = bytes_;
    const auto length = static_cast<std::uint32_t>(packet.size());
    std::memcpy(packet.data() + 4, &length, sizeof length);
    return packet;
  }

 private:
  Packet& Append(const void* data, std::size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
    return *this;
  }
  std::string bytes_;
};

constexpr std::uint32_t kSegments = 2;
constexpr std::uint64_t kSegmentBytes = 4096;
constexpr std::size_t kPoolBytes = 4096 + kSegments * kSegmentBytes;

/// A memfd of `bytes` bytes with the beginning of a segment pool, and the segments' tokens 7 and 8.
UniqueFd Memfd(std::size_t bytes, int seals, std::uint64_t count = kSegments,
               std::string_view magic = "DSGFSEG1") {
  UniqueFd fd(::memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  CHECK(fd && ::ftruncate(fd.get(), static_cast<off_t>(bytes)) == 0);
  std::array<std::uint64_t, 4> header = {0, 1, count, kSegmentBytes};
  std::memcpy(header.data(), magic.data(), sizeof header[0]);
  if (bytes >= sizeof header) CHECK(::pwrite(fd.get(), header.data(), sizeof header, 0) > 0);
  for (std::uint64_t i = 0; i < 2 && bytes >= kPoolBytes; ++i) {
    const std::uint64_t token = 7 + i;
    CHECK(::pwrite(fd.get(), &token, sizeof token, static_cast<off_t>(4096 + i * kSegmentBytes)) >
          0);
  }
  if (seals != 0) CHECK(::fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
  return fd;
}
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

/// A connection to the cache that says what the test wants.
class Peer {
 public:
  explicit Peer(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    CHECK(path.size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, path.data(), path.size());
    CHECK(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }

  /// False once the cache has ended the link, or (with `wait` false) takes nothing now.
  bool Send(const std::string& packet, const std::vector<int>& descriptors = {}, bool wait = true) {
    iovec bytes{const_cast<char*>(packet.data()), packet.size()};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    std::vector<char> control(CMSG_SPACE(sizeof(int) * descriptors.size()));
    if (!descriptors.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* const header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
      std::memcpy(CMSG_DATA(header), descriptors.data(), sizeof(int) * descriptors.size());
    }
    return ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) >= 0;
  }
  bool Send(const Packet& packet) { return Send(packet.bytes()); }

  /// The next packet, descriptors closed; empty when the link has ended.
  std::string Receive() {
    std::string buffer(65536, '\0');
    std::array<char, CMSG_SPACE(sizeof(int) * 4)> control{};
    iovec bytes{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    pollfd wait{fd_.get(), POLLIN, 0};
    CHECK(::poll(&wait, 1, 30'000 * testing::kSlowdown) == 1, "the cache says nothing");
    const ssize_t n = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC);
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); n > 0 && header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      for (std::size_t at = 0; CMSG_LEN(at + sizeof(int)) <= header->cmsg_len; at += sizeof(int)) {
        int descriptor = -1;
        std::memcpy(&descriptor, CMSG_DATA(header) + at, sizeof descriptor);
        ::close(descriptor);
      }
    }
    buffer.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return buffer;
  }
  /// Reads until a message of this type comes; empty if the link ends before.
  std::string Await(std::uint16_t type) {
    for (;;) {
      std::string packet = Receive();
      std::uint16_t has = 0;
      if (packet.empty()) return packet;
      std::memcpy(&has, packet.data(), sizeof has);
      if (has == type) return packet;
    }
  }
  /// Whatever comes before the end of the link, and that it comes.
  bool Ends() {
    while (!Receive().empty()) {
    }
    return true;
  }
  /// As a proxy would. With a pool of two segments of 4096 bytes, leased under 7 and 8.
  void SayHello() {
    pool_ = Memfd(kPoolBytes, kSeals);
    CHECK(Send(Packet(kHello).U8(0).Text("hostile").U32(kSegments).U64(kSegmentBytes).bytes(),
               {pool_.get()}));
    CHECK(!Await(kWelcome).empty());
  }
  struct Led {
    std::uint64_t fill = 0;
    std::uint64_t term = 0;
  };
  /// Becomes the leader of the fill of `key`.
  Led Lead(std::string_view key) {
    CHECK(Send(Packet(kWant).U64(1).Text(key)));
    const std::string packet = Await(kLead);
    CHECK(packet.size() >= 32);
    Led led;
    std::memcpy(&led.fill, packet.data() + 16, sizeof led.fill);
    std::memcpy(&led.term, packet.data() + 24, sizeof led.term);
    return led;
  }
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  UniqueFd pool_;
};

std::string HelloWithPool() {
  return Packet(kHello).U8(0).Text("hostile").U32(kSegments).U64(kSegmentBytes).bytes();
}

class HostilePeerTest : public ::testing::Test {
 protected:
  HostilePeerTest() {
    origin_.Write("small", small_);
    origin_.Write("large", large_);
    ExpectOthersServed();
    descriptors_ = cache_->open_descriptors();
  }
  ~HostilePeerTest() override {
    ExpectOthersServed();
    EXPECT_TRUE(Eventually(kDeadline, "the links of the hostile are closed",
                           [&] { return Metric(*cache_, "getfile_cached_links") == 2; }));
    AwaitFills(*cache_);
    EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "/"}).exit_code, 0);
    EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "hostile"}).exit_code, 0);
    EXPECT_TRUE(Eventually(kDeadline, "no descriptor of theirs is left",
                           [&] { return cache_->open_descriptors() <= descriptors_; }))
        << cache_->open_descriptors() << " of " << descriptors_;
    EXPECT_EQ(cache_->Terminate(), 0);
  }

  std::unique_ptr<Peer> Connect() const { return std::make_unique<Peer>(machine_.socket()); }
  /// One that has said hello.
  std::unique_ptr<Peer> Link() const {
    auto peer = Connect();
    peer->SayHello();
    return peer;
  }
  double Malformed() const { return Metric(*cache_, "getfile_cached_malformed_packets_total"); }
  /// A hit and two misses of an honest proxy.
  void ExpectOthersServed() {
    for (const char* const label : {"MISS", "HIT"}) {
      const HttpReply small = Http(*proxy_, fmt::format("/small?{}", round_));
      EXPECT_EQ(small.body, small_);
      EXPECT_EQ(small.Field("X-Cache"), label);
      EXPECT_TRUE(Http(*proxy_, fmt::format("/large?{}", round_)).body == large_);
    }
    ++round_;
  }

  const std::string small_ = Content(1000);
  const std::string large_ = Content(500'000);
  const Machine machine_{};
  const NginxOrigin origin_;
  const std::unique_ptr<DaemonProcess> cache_ = machine_.Cache();
  const std::unique_ptr<DaemonProcess> proxy_ = machine_.LinkedProxy(origin_.url());
  std::size_t descriptors_ = 0;
  int round_ = 0;
};

TEST_F(HostilePeerTest, GarbageEndsItsLinkAndIsCounted) {
  Rng rng(1);
  const double before = Malformed();
  const std::string hello = Packet(kHello).U8(0).Text("x").U32(0).U64(0).bytes();
  std::vector<std::string> packets = {
      "x",
      std::string(8, '\0'),
      std::string(16384, '\xff'),
      std::string(60'000, '\1'),          // longer than any message
      hello.substr(0, hello.size() - 1),  // cut off
      hello + "x",                        // too long
      Packet(kHello, kVersion + 1).U8(0).Text("x").U32(0).U64(0).bytes(),     // newer
      Packet(kHello).U8(2).Text("x").U32(0).U64(0).bytes(),                   // no flag
      Packet(kHello).U8(0).Text(std::string(65, 'x')).U32(0).U64(0).bytes(),  // a long name
      Packet(kHello).U8(0).U32(0xffffffff).bytes(),                           // a text of 4 GiB
      Packet(kWelcome).U64(1).U64(1).U64(1).bytes(),                          // the cache's own
      Packet(999).bytes(),
      Packet(kAlive).bytes(),                 // before HELLO
      Packet(kStatus).U64(1).U64(0).bytes(),  // the same
  };
  for (int i = 0; i < 100; ++i) {
    std::string random(1 + rng.Below(200), '\0');
    for (char& byte : random) byte = static_cast<char>(rng.Below(256));
    packets.push_back(random);
  }
  const auto begin = std::chrono::steady_clock::now();
  for (const std::string& packet : packets) {
    const auto peer = Connect();
    ASSERT_TRUE(peer->Send(packet));
    EXPECT_TRUE(peer->Ends());
  }
  EXPECT_TRUE(Eventually(kDeadline, "all are counted", [&] {
    return Malformed() == before + static_cast<double>(packets.size());
  }));
  // One line in each second.
  AwaitLog(*cache_, " ended: ");
  const auto seconds = (std::chrono::steady_clock::now() - begin) / std::chrono::seconds(1);
  const std::string log = cache_->stderr_text();
  std::int64_t lines = 0;
  for (std::size_t at = log.find(" ended: "); at != std::string::npos;
       at = log.find(" ended: ", at + 1)) {
    ++lines;
  }
  EXPECT_LE(lines, 2 + seconds);
}

TEST_F(HostilePeerTest, APeerOfAnotherReleaseIsRefusedAndLearnsOurs) {
  const auto peer = Connect();
  ASSERT_TRUE(peer->Send(Packet(kHello, 1).U8(0).Text("old").U32(0).U64(0).bytes()));
  const std::string answer = peer->Receive();
  ASSERT_GE(answer.size(), 8U);
  std::uint16_t version = 0;
  std::memcpy(&version, answer.data() + 2, sizeof version);
  EXPECT_EQ(version, kVersion);
  EXPECT_TRUE(peer->Ends());
  AwaitLog(*cache_, "message of version 1, not 2 (a program of another release?)");
}

TEST_F(HostilePeerTest, MessagesOfAGreetedLinkThatAreMalformedEndIt) {
  const double before = Malformed();
  const std::vector<Packet> packets = {
      Packet(kHello).U8(0).Text("again").U32(0).U64(0),
      Packet(kWant).U64(0).Text("k"),  // request 0
      Packet(kWant).U64(1).Text(""),   // no key
      Packet(kWant).U64(1).Text(std::string(8193, 'k')),
      Packet(kOpen).U64(0),
      Packet(kReleased).U32(2000),  // more than there are
      Packet(kHits).U64(std::uint64_t{1} << 48U).U64(0).U64(0).U64(0).U32(0),
      Packet(kData).U64(1).U64(1).U64(0).Segment(0, 0, 1),  // token 0
      Packet(kBegin).U64(1).U64(1).U64(std::uint64_t{1} << 60U).Freshness().Text(""),
      Packet(kEnd).U64(1).U64(1).U8(9).Freshness().Text(""),  // no outcome
  };
  for (const Packet& packet : packets) {
    const auto peer = Link();
    ASSERT_TRUE(peer->Send(packet));
    EXPECT_TRUE(peer->Ends());
  }
  EXPECT_TRUE(Eventually(kDeadline, "all are counted", [&] {
    return Malformed() == before + static_cast<double>(packets.size());
  }));
}

TEST_F(HostilePeerTest, DescriptorsThatAreNoSegmentsAreRefusedAndClosed) {
  const double before = Malformed();
  int refused = 0;
  const auto expect_refused = [&](const char* what, const std::vector<int>& descriptors,
                                  const std::string& hello) {
    const auto peer = Connect();
    ASSERT_TRUE(peer->Send(hello, descriptors)) << what;
    EXPECT_TRUE(peer->Ends()) << what;
    ++refused;
    EXPECT_TRUE(Eventually(kDeadline, "it is counted", [&] {
      return Malformed() == before + refused;
    })) << what;
  };
  const auto one = [&](const char* what, UniqueFd descriptor) {
    expect_refused(what, {descriptor.get()}, HelloWithPool());
  };
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd other_end(ends[1]);
  one("a pipe", UniqueFd(ends[0]));
  one("a socket", UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  one("a device", UniqueFd(::open("/dev/zero", O_RDWR | O_CLOEXEC)));
  one("a folder", UniqueFd(::open("/tmp", O_RDONLY | O_CLOEXEC)));
  const std::string file = machine_.folder().Write("pool", std::string(kPoolBytes, '\0'));
  one("a file", UniqueFd(::open(file.c_str(), O_RDWR | O_CLOEXEC)));
  one("not sealed", Memfd(kPoolBytes, 0));
  one("may shrink", Memfd(kPoolBytes, F_SEAL_GROW));
  one("empty", Memfd(0, kSeals));
  one("too small for its header", Memfd(100, kSeals));
  one("smaller than it says", Memfd(kPoolBytes - 4096, kSeals));
  one("larger than it says", Memfd(kPoolBytes + 4096, kSeals));
  one("other segments than HELLO says", Memfd(4096 + 4096, kSeals, 1));
  one("more segments than there can be", Memfd(kPoolBytes, kSeals, ~std::uint64_t{0}));
  one("another magic", Memfd(kPoolBytes, kSeals, kSegments, "DSGFIDX1"));
  one("not writable", Memfd(kPoolBytes, kSeals | F_SEAL_WRITE));
  const UniqueFd huge(::memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB));
  if (huge) expect_refused("huge pages", {huge.get()}, HelloWithPool());
  const UniqueFd good = Memfd(kPoolBytes, kSeals);
  expect_refused("two", {good.get(), good.get()}, HelloWithPool());
  expect_refused("250", std::vector<int>(250, good.get()), HelloWithPool());
  expect_refused("one too few", {}, HelloWithPool());
  expect_refused("one too many", {good.get()},
                 Packet(kHello).U8(0).Text("hostile").U32(0).U64(0).bytes());
  // Later messages bring none.
  const auto peer = Link();
  peer->Send(Packet(kAlive).bytes(), {good.get()});
  EXPECT_TRUE(peer->Ends());
}

TEST_F(HostilePeerTest, ALeaderThatLiesEndsItsOwnFillOnly) {
  const auto lies = std::vector<std::function<Packet(Peer::Led)>>{
      [](Peer::Led led) {  // far beyond the object
        return Packet(kData).U64(led.fill).U64(led.term).U64(1U << 30U).Segment(0, 7, 100);
      },
      [](Peer::Led led) {  // a segment that it does not have
        return Packet(kData).U64(led.fill).U64(led.term).U64(0).Segment(2, 7, 100);
      },
      [](Peer::Led led) {
        return Packet(kData).U64(led.fill).U64(led.term).U64(0).Segment(0xffffffff, 7, 100);
      },
      [](Peer::Led led) {  // more than a segment holds
        return Packet(kData).U64(led.fill).U64(led.term).U64(0).Segment(0, 7, 4096);
      },
      [](Peer::Led led) {  // begun twice
        return Packet(kBegin).U64(led.fill).U64(led.term).U64(8000).Freshness().Text("");
      },
      [](Peer::Led led) {  // complete, and nothing has come
        return Packet(kEnd).U64(led.fill).U64(led.term).U8(0).Freshness().Text("");
      },
      [](Peer::Led led) {
        return Packet(kInsert).U64(led.fill).U64(led.term).U8(0).Freshness().Text("");
      }};
  const double before = Malformed();
  for (std::size_t i = 0; i < lies.size(); ++i) {
    const auto peer = Link();
    const auto led = peer->Lead(fmt::format("hostile-{}", i));
    ASSERT_TRUE(
        peer->Send(Packet(kBegin).U64(led.fill).U64(led.term).U64(8000).Freshness().Text("")));
    EXPECT_FALSE(peer->Await(kBegun).empty());
    ASSERT_TRUE(peer->Send(lies[i](led)));
    EXPECT_TRUE(peer->Ends()) << i;
    EXPECT_TRUE(Eventually(kDeadline, "it is counted",
                           [&] { return Malformed() == before + static_cast<double>(i) + 1; }));
  }
  EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "hostile"}).out, "purged 0\n");
}

TEST_F(HostilePeerTest, FieldsThatWouldSplitAnAnswerReachNoClient) {
  origin_.Write("split", "the origin's");
  const auto peer = Link();
  const auto led = peer->Lead(origin_.url() + "/split");
  // Version, status, date, lengths of content type, ETag, Last-Modified and the other lines.
  const std::string lines = "X: y\r\n\r\nevil";
  std::string fields(
      "\1\0\xc8\0"
      "\0\0\0\0\0\0\0\0"
      "\0\0\0\0\0\0"
      "\0\0",
      20);
  fields[18] = static_cast<char>(lines.size());
  fields += lines;
  ASSERT_TRUE(
      peer->Send(Packet(kInsert).U64(led.fill).U64(led.term).U8(0).Freshness().Text(fields)));
  EXPECT_FALSE(peer->Await(kEnded).empty());
  const HttpReply reply = Http(*proxy_, "/split");
  EXPECT_EQ(reply.body, "the origin's");
  EXPECT_EQ(reply.Field("X-Cache"), "PASS");
}

TEST_F(HostilePeerTest, WhatIsNotOursHasNoEffect) {
  const double before = Malformed();
  const auto peer = Link();
  const auto led = peer->Lead("hostile");
  for (const Packet& packet :
       std::vector<Packet>{Packet(kRead).U64(led.fill + 5), Packet(kLeave).U64(led.fill + 5),
                           Packet(kReleased).U32(2).U64(1).U64(999), Packet(kOpen).U64(999'999),
                           Packet(kEnd).U64(led.fill).U64(led.term + 1).U8(2).Freshness().Text(""),
                           Packet(kEnd).U64(led.fill + 5).U64(led.term).U8(2).Freshness().Text(""),
                           Packet(kData).U64(led.fill + 5).U64(1).U64(0).Segment(0, 7, 100),
                           Packet(kCopy).U64(999'999).U64(0).U8(1).U64(0).Segment(0, 7, 100),
                           // The token of no lease: nothing is copied, and the fill breaks.
                           Packet(kInsert)
                               .U64(led.fill)
                               .U64(led.term)
                               .U8(1)
                               .Segment(0, 1234, 100)
                               .Freshness()
                               .Text("")}) {
    ASSERT_TRUE(peer->Send(packet));
  }
  const std::string ended = peer->Await(kEnded);
  ASSERT_GE(ended.size(), 17U);
  EXPECT_EQ(ended[16], 3) << "broken";
  EXPECT_EQ(Malformed(), before);
  EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "hostile"}).out, "purged 0\n");
}

TEST_F(HostilePeerTest, WhoAsksAndNeverReadsIsEnded) {
  const double before = Metric(*cache_, "getfile_cached_links_overrun_total");
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 10; ++i) {
    peers.push_back(Link());
    // Each is answered; the answers fill the socket, then the cache's queue, then its patience.
    for (int k = 0; k < 20'000; ++k) {
      if (!peers.back()->Send(Packet(kOpen).U64(999'999).bytes(), {}, /*wait=*/false) &&
          errno != EAGAIN) {
        break;
      }
    }
  }
  ExpectOthersServed();
  EXPECT_TRUE(Eventually(kDeadline, "those who do not read are ended", [&] {
    for (const auto& peer : peers) {
      peer->Send(Packet(kOpen).U64(999'999).bytes(), {}, /*wait=*/false);
    }
    return Metric(*cache_, "getfile_cached_links_overrun_total") == before + 10;
  }));
}

TEST_F(HostilePeerTest, WhoSaysTooMuchDoesNotHoldTheOthersUp) {
  std::vector<std::unique_ptr<Peer>> peers;
  peers.reserve(8);
  for (int i = 0; i < 8; ++i) peers.push_back(Link());
  for (int round = 0; round < 20; ++round) {
    for (const auto& peer : peers) {
      while (peer->Send(Packet(kAlive).bytes(), {}, /*wait=*/false)) {
        // until its socket is full
        if (round > 0) break;
      }
    }
    EXPECT_EQ(Http(*proxy_, fmt::format("/small?round-{}", round)).body, small_);
  }
}

TEST_F(HostilePeerTest, SilentPeersHoldNobodyUp) {
  std::vector<std::unique_ptr<Peer>> silent;
  silent.reserve(200);
  for (int i = 0; i < 200; ++i) silent.push_back(Connect());
  // These lead what others want, and say no more.
  const std::string before_begin = origin_.url() + "/small?wanted";
  const std::string after_begin = origin_.url() + "/large?wanted";
  silent.push_back(Link());
  silent.back()->Lead(before_begin);
  silent.push_back(Link());
  const auto led = silent.back()->Lead(after_begin);
  ASSERT_TRUE(silent.back()->Send(
      Packet(kBegin).U64(led.fill).U64(led.term).U64(large_.size()).Freshness().Text("")));
  EXPECT_FALSE(silent.back()->Await(kBegun).empty());
  EXPECT_EQ(Http(*proxy_, "/small?wanted").body, small_);
  // What the leader has said of it makes no sense.
  EXPECT_TRUE(Http(*proxy_, "/large?wanted").body == large_);
  EXPECT_EQ(Metric(*proxy_, "getfile_proxy_links_broken_total"), 0);
  EXPECT_GE(Metric(*cache_, "getfile_cached_promotions_total"), 1);
}

TEST_F(HostilePeerTest, ManyFillsOfOneLinkArePassed) {
  const auto peer = Link();
  int passed = 0;
  for (std::uint64_t i = 1; i <= 1100; ++i) {
    ASSERT_TRUE(peer->Send(Packet(kWant).U64(i).Text(fmt::format("hostile-{}", i))));
    const std::string answer = peer->Receive();
    ASSERT_FALSE(answer.empty());
    if (answer[0] == kPassed) ++passed;
  }
  EXPECT_EQ(passed, 1100 - 1024);
  ExpectOthersServed();
}

/// A cache that answers each HELLO with `answer`, or not at all, and ends the link.
class ForeignCache {
 public:
  ForeignCache(const std::string& path, std::string answer)
      : listener_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    CHECK(path.size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, path.data(), path.size());
    CHECK(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
              0 &&
          ::listen(listener_.get(), 16) == 0);
    thread_ = std::jthread([this, answer = std::move(answer)] {
      for (;;) {
        const UniqueFd link(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!link) return;
        ++links_;
        std::array<char, 16384> hello{};
        if (::recv(link.get(), hello.data(), hello.size(), 0) > 0 && !answer.empty()) {
          ::send(link.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
        }
      }
    });
  }
  ~ForeignCache() { ::shutdown(listener_.get(), SHUT_RDWR); }
  int links() const { return links_; }

 private:
  const UniqueFd listener_;
  std::atomic<int> links_{0};
  std::jthread thread_;
};

TEST(ForeignCacheTest, ACacheOfAnotherReleaseIsDoneWithoutAndThatIsSaidOnce) {
  const FakeServer origin({FakeServer::Answer(HttpOk("x"))});
  const struct {
    std::string answer;
    const char* logged;
  } cases[] = {
      {Packet(kRetired, kVersion + 1).bytes(), "message of version 3, not 2"},
      {"", "ended the link without a welcome (is it of another release"},
  };
  for (const auto& foreign : cases) {
    SCOPED_TRACE(foreign.logged);
    const Machine machine;
    const ForeignCache cache(machine.socket(), foreign.answer);
    const auto proxy = machine.Proxy(Url(origin), {"-t", "1"});
    AwaitLog(*proxy, foreign.logged);
    const HttpReply reply = Http(*proxy, "/a");
    EXPECT_EQ(reply.body, "x");
    EXPECT_EQ(reply.Field("X-Cache"), "PASS");
    const auto ctl = machine.Ctl({"status"});
    EXPECT_EQ(ctl.exit_code, 1);
    EXPECT_THAT(ctl.err, ::testing::HasSubstr("release?)"));
    EXPECT_TRUE(Eventually(kDeadline, "the proxy tries again",
                           [&, tried = cache.links()] { return cache.links() >= tried + 3; }));
    const std::string log = proxy->stderr_text();
    EXPECT_EQ(log.find(foreign.logged), log.rfind(foreign.logged));
  }
}

TEST(DelayedAnswersTest, OneLinkHasABoundedNumberOfThemAndOthersTheirOwn) {
  const Machine machine;
  const auto cache = machine.Cache({"--delay", "60000000"});
  /// How many of so many WANTs are told at once to fetch for themselves.
  const auto passed_of = [](Peer& peer, std::uint64_t wants) {
    for (std::uint64_t i = 1; i <= wants; ++i) {
      EXPECT_TRUE(peer.Send(Packet(kWant).U64(i).Text(fmt::format("hostile-{}", i))));
    }
    // This is answered at once whatever else is delayed.
    EXPECT_TRUE(peer.Send(Packet(kStatus).U64(1).U64(0)));
    std::uint64_t passed = 0;
    for (;;) {
      const std::string answer = peer.Receive();
      if (answer.empty() || answer[0] == kReport) break;
      EXPECT_EQ(answer[0], kPassed);
      ++passed;
    }
    return passed;
  };
  Peer greedy(machine.socket());
  greedy.SayHello();
  EXPECT_EQ(passed_of(greedy, 1100), 1100U - 1024U);
  Peer other(machine.socket());
  other.SayHello();
  EXPECT_EQ(passed_of(other, 1), 0U);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
