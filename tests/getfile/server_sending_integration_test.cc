#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "tests/getfile/getfile_server.h"
#include "tests/getfile/http_reply.h"
#include "tests/harness/eventually.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/temp_dir.h"

// How bodies get into the socket: from memory up to 16 KiB, by sendfile above; with a head in
// front, with another answer behind or with the end of the stream, whole or in pieces.

namespace ds::getfile {
namespace {

using testing::Eventually;
using testing::TempDir;
using End = RawPeer::End;

constexpr std::size_t kInMemoryMax = 16384;
constexpr std::size_t kSizes[] = {0, 1, kInMemoryMax, kInMemoryMax + 1};

std::string PathOf(std::size_t size) { return fmt::format("/{}", size); }

/// The receiver's buffer is small, and it is emptied in small pieces. Not as small as it gets: its
/// window would be less than two segments, and the senders would wait for the kernel's timers.
class SlowPeer {
 public:
  explicit SlowPeer(const GetfileServer& server)
      : peer_(server.Connect({.receive_buffer_bytes = 4096})) {}

  void Send(std::string_view bytes) { ASSERT_TRUE(peer_.Send(bytes)); }
  /// The next piece; false when there was no more.
  bool ReadPiece() {
    constexpr std::size_t kPieces[] = {1, 700, 7, 1500, 97};
    const auto piece = peer_.Read(kPieces[pieces_++ % std::size(kPieces)]);
    received_.bytes += piece.bytes;
    received_.end = piece.end;
    return piece.end == End::kOpen;
  }
  const RawPeer::Received& ReadToEnd() {
    while (ReadPiece()) {
    }
    return received_;
  }
  /// `n` bytes, and none beyond them.
  std::string Read(std::size_t n) { return peer_.Read(n).bytes; }

  const RawPeer::Received& received() const { return received_; }

 private:
  RawPeer peer_;
  std::size_t pieces_ = 0;
  RawPeer::Received received_{.bytes = "", .end = End::kOpen};
};

/// Files whose last change is so long ago that the server keeps those in memory that are small.
class GetfileServerSendingTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = new TempDir;
    for (const std::size_t size : kSizes) root_->Write(PathOf(size).substr(1), BodyOf(size));
    struct stat last {};
    CHECK(::stat(root_->path(PathOf(kSizes[3]).substr(1)).c_str(), &last) == 0);
    ASSERT_TRUE(Eventually(kDeadline, "no file was changed in the last two seconds",
                           [&] { return std::time(nullptr) - last.st_ctim.tv_sec > 2; }));
  }
  static void TearDownTestSuite() { delete root_; }

  static std::string BodyOf(std::size_t size) {
    return Content(size, static_cast<unsigned>(size) + 1);
  }

  static TempDir* root_;
};
TempDir* GetfileServerSendingTest::root_ = nullptr;

enum class Connection { kKept, kClosing };

std::string HttpGet(std::size_t size, Connection connection, std::string_view fields = "",
                    std::string_view method = "GET") {
  return fmt::format("{} {} HTTP/1.1\r\nHost: here\r\n{}{}\r\n", method, PathOf(size), fields,
                     connection == Connection::kKept ? "" : "Connection: close\r\n");
}

/// An answer to an HTTP request for one of the files.
struct HttpCase {
  std::string fields;
  int code = 0;
  std::string body;
};

/// The whole, and all ranges that are of interest.
std::vector<HttpCase> HttpCases(const std::string& file) {
  std::vector<HttpCase> cases = {{"", 200, file}};
  const auto range = [&](std::size_t first, std::optional<std::size_t> last) {
    const std::string text =
        fmt::format("Range: bytes={}-{}\r\n", first, last ? std::to_string(*last) : "");
    if (first >= file.size()) return cases.push_back({text, 416, ""});
    cases.push_back({text, 206, file.substr(first, last ? *last - first + 1 : file.size())});
  };
  range(0, std::nullopt);
  range(0, 0);
  range(1, std::nullopt);
  range(1, kInMemoryMax - 2);
  range(8000, 8099);
  range(kInMemoryMax - 1, std::nullopt);
  range(kInMemoryMax, std::nullopt);
  return cases;
}

TEST_F(GetfileServerSendingTest, WholeAnswersArriveExactlyAndTheConnectionEnds) {
  GetfileServer server({"--root", root_->path()});
  for (const std::size_t size : kSizes) {
    const std::string body = BodyOf(size);
    SlowPeer getfile(server);
    getfile.Send(Get(PathOf(size)));
    EXPECT_THAT(getfile.ReadToEnd(), Answers(Ok(body))) << size;
    for (const HttpCase& c : HttpCases(body)) {
      SlowPeer http(server);
      http.Send(HttpGet(size, Connection::kClosing, c.fields));
      EXPECT_EQ(http.ReadToEnd().end, End::kClosed);
      const auto replies = ReadReplies(http.received().bytes);
      ASSERT_EQ(replies.size(), 1U) << size << c.fields;
      EXPECT_EQ(replies[0].code, c.code) << size << c.fields;
      EXPECT_TRUE(c.code == 416 || replies[0].body == c.body) << size << c.fields;
    }
  }
}

TEST_F(GetfileServerSendingTest, AnswersWithoutBodyArriveExactlyAndTheConnectionEnds) {
  GetfileServer server({"--root", root_->path()});
  SlowPeer missing(server);
  missing.Send(Get("/missing"));
  EXPECT_THAT(missing.ReadToEnd(), Answers(kNotFound));
  for (const std::size_t size : kSizes) {
    SlowPeer head(server);
    head.Send(HttpGet(size, Connection::kClosing, "", "HEAD"));
    EXPECT_EQ(head.ReadToEnd().end, End::kClosed);
    const auto replies = ReadReplies(head.received().bytes, {0});
    ASSERT_EQ(replies.size(), 1U);
    EXPECT_EQ(replies[0].Field("Content-Length"), std::to_string(size));
  }
}

TEST_F(GetfileServerSendingTest, AnswersOnAKeptConnectionArriveBeforeTheNextRequest) {
  GetfileServer server({"--root", root_->path()});
  SlowPeer getfile(server);
  SlowPeer http(server);
  for (int round = 0; round < 3; ++round) {
    for (const std::size_t size : kSizes) {
      const std::string expected = Ok(BodyOf(size));
      getfile.Send(GetKeepAlive(PathOf(size)));
      ASSERT_TRUE(getfile.Read(expected.size()) == expected) << size;
      http.Send(HttpGet(size, Connection::kKept));
      std::string head;
      while (!head.ends_with("\r\n\r\n")) {
        const std::string byte = http.Read(1);
        ASSERT_FALSE(byte.empty()) << head;
        head += byte;
      }
      ASSERT_TRUE(http.Read(size) == BodyOf(size)) << size;
    }
  }
}

/// Several slow receivers, each of which has asked for many answers at once: the server's sockets
/// are full in the middle of heads and bodies, and the budget of send buffers gets tight.
void ExpectPipelinedAnswersArriveExactly(const GetfileServer& server,
                                         const std::function<std::string(std::size_t)>& body_of) {
  constexpr int kRounds = 25;        // more than 2 MiB, which a connection may have unsent
  constexpr std::size_t kPeers = 6;  // half of them for each protocol
  std::string getfile;
  std::string getfile_answers;
  std::string http;
  std::vector<HttpCase> http_answers;
  for (int round = 1; round <= kRounds; ++round) {
    for (const std::size_t size : kSizes) {
      const std::string body = body_of(size);
      const bool last = round == kRounds && size == kSizes[3];
      for (HttpCase& c : HttpCases(body)) {
        http += HttpGet(size, Connection::kKept, c.fields);
        http_answers.push_back(std::move(c));
        getfile += GetKeepAlive(PathOf(size));
        getfile_answers += Ok(body);
      }
      if (!last) continue;
      http += HttpGet(size, Connection::kClosing);
      http_answers.push_back({"", 200, body});
      getfile += Get(PathOf(size));
      getfile_answers += Ok(body);
    }
  }
  std::vector<SlowPeer> peers;
  for (std::size_t i = 0; i < kPeers; ++i) {
    peers.emplace_back(server);
    peers.back().Send(i % 2 == 0 ? getfile : http);
  }
  for (bool more = true; more;) {
    more = false;
    for (SlowPeer& peer : peers) more |= peer.received().end == End::kOpen && peer.ReadPiece();
  }
  for (std::size_t i = 0; i < kPeers; ++i) {
    const RawPeer::Received& received = peers[i].received();
    if (i % 2 == 0) {
      EXPECT_THAT(received, Answers(getfile_answers));
      continue;
    }
    EXPECT_EQ(received.end, End::kClosed);
    const auto replies = ReadReplies(received.bytes);
    ASSERT_EQ(replies.size(), http_answers.size());
    for (std::size_t k = 0; k < replies.size(); ++k) {
      ASSERT_EQ(replies[k].code, http_answers[k].code) << k;
      ASSERT_TRUE(http_answers[k].code == 416 || replies[k].body == http_answers[k].body) << k;
    }
  }
}

TEST_F(GetfileServerSendingTest, PipelinedAnswersArriveExactlyThroughFullSockets) {
  const GetfileServer server({"--root", root_->path()});
  ExpectPipelinedAnswersArriveExactly(server, BodyOf);
}

TEST_F(GetfileServerSendingTest, PipelinedAnswersArriveExactlyInThePiecesOfATightBudget) {
  const GetfileServer server({"--root", root_->path(), "--send-buffer-total", "1m"});
  ExpectPipelinedAnswersArriveExactly(server, BodyOf);
}

// A reset comes while nothing more may be given to the kernel for that peer.
TEST_F(GetfileServerSendingTest, PeersThatResetWhileTheirAllowanceIsUsedUpAreGone) {
  const TempDir folder;
  folder.Write("large", Content(4U << 20U));
  const GetfileServer server(
      {"--root", folder.path(), "--send-buffer-total", "1m", "--metrics", "127.0.0.1:0"});
  std::vector<RawPeer> peers;
  for (int i = 0; i < 60; ++i) {
    peers.push_back(server.Connect({.receive_buffer_bytes = 4096}));
    ASSERT_TRUE(peers.back().Send(Get("/large")));
  }
  for (RawPeer& peer : peers) EXPECT_EQ(peer.Read(1000).bytes.size(), 1000U);
  for (RawPeer& peer : peers) peer.Reset();
  EXPECT_TRUE(server.Counts("getfile_connections_open", 0));
  EXPECT_TRUE(server.Counts("getfile_send_buffer_bytes", 0));
}

}  // namespace
}  // namespace ds::getfile
