#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "common/base/unique_fd.h"
#include "tests/getfile/getfile_server.h"
#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/temp_dir.h"

namespace ds::getfile {
namespace {

using testing::Eventually;
using testing::LoopbackLease;
using ::testing::StartsWith;
using testing::TempDir;
using End = RawPeer::End;

namespace stdfs = std::filesystem;

constexpr std::size_t kMiB = std::size_t{1} << 20U;

/// Whether the connection ended without a byte.
MATCHER(EndsSilently, "") { return arg.bytes.empty() && arg.end == End::kClosed; }

void Symlink(const std::string& target, const std::string& link) {
  CHECK(::symlink(target.c_str(), link.c_str()) == 0, link);
}

/// Puts another file in the place of `name`, as one should.
void Replace(const TempDir& root, const std::string& name, std::string_view bytes) {
  const std::string fresh = root.Write(name + ".new", bytes);
  CHECK(std::rename(fresh.c_str(), root.path(name).c_str()) == 0);
}

// --- What is found ---

TEST(GetfileServerTest, AFileIsAnsweredWithItsBytes) {
  const TempDir root;
  const std::vector<std::pair<std::string, std::string>> files = {
      {"/plain.txt", "hello\n"},
      {"/empty", ""},
      {"/one", "x"},
      {"/a/b/c/deep", "deep"},
      {"/terminators", "\r\n\r\nGETFILE OK 3\r\n\r\nabc\r\n\r\n"},
      {"/nuls", std::string("\0\0\0", 3)},
      {"/gr\xc3\xbc\xc3\x9f"
       "e",
       "UTF-8"},
      {"/\xff\xfe\x80", "not UTF-8"},
      {"/what?is=this#not%20decoded", "bytes"},
      {"/\"'\\*~", "marks"},
      {"/name." + std::string(250, 'n'), "a long name"},
      {"/large", Content(3 * kMiB + 17)},
  };
  for (const auto& [path, body] : files) root.Write(path.substr(1), body);
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  for (const auto& [path, body] : files) {
    EXPECT_THAT(server.Exchange(Get(path)), Answers(Ok(body))) << EscapeBytes(path);
  }
  EXPECT_EQ(server.Metric("getfile_requests_total{protocol=\"getfile\",status=\"OK\"}"),
            static_cast<double>(files.size()));
}

TEST(GetfileServerTest, SlashesAndDotsThatStayInsideNameTheSameFile) {
  const TempDir root;
  root.Write("folder/file", "inside");
  GetfileServer server({"--root", root.path()});
  for (const char* path :
       {"//folder/file", "/folder//file", "/./folder/./file", "/folder/../folder/file"}) {
    EXPECT_THAT(server.Exchange(Get(path)), Answers(Ok("inside"))) << path;
  }
}

TEST(GetfileServerTest, ALinkThatStaysInsideIsFollowed) {
  const TempDir root;
  root.Write("folder/file", "inside");
  Symlink("folder/file", root.path("link"));
  Symlink("folder", root.path("folder_link"));
  GetfileServer server({"--root", root.path()});
  EXPECT_THAT(server.Exchange(Get("/link")), Answers(Ok("inside")));
  EXPECT_THAT(server.Exchange(Get("/folder_link/file")), Answers(Ok("inside")));
}

TEST(GetfileServerTest, APathOf4096BytesIsServedAndOneMoreByteIsInvalid) {
  const TempDir root;
  GetfileServer server({"--root", root.path()});
  const std::string nothing = "/" + std::string(4095, 'x');
  EXPECT_THAT(server.Exchange(Get(nothing)), Answers(kNotFound));
  EXPECT_THAT(server.Exchange(Get(nothing + "x")), Answers(kInvalid));

  // And one that is there: fifteen folders with names of 255 bytes, a file with one of 254.
  std::string path;
  UniqueFd folder(::open(root.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < 15; ++i) {
    const std::string name(255, 'd');
    ASSERT_EQ(::mkdirat(folder.get(), name.c_str(), 0755), 0);
    folder.Reset(::openat(folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(folder);
    path += "/" + name;
  }
  const std::string name(255, 'f');
  const UniqueFd file(::openat(folder.get(), name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_TRUE(file);
  ASSERT_EQ(::write(file.get(), "far", 3), 3);
  path += "/" + name;
  ASSERT_EQ(path.size(), 4096U);
  EXPECT_THAT(server.Exchange(Get(path)), Answers(Ok("far")));
}

TEST(GetfileServerTest, AFileOver2GiBIsServedWhole) {
  constexpr std::uint64_t kSize = 3ULL << 30U;
  constexpr std::string_view kMark = "the end";
  const TempDir root;
  root.Write("huge", "the beginning");
  {
    const UniqueFd file(::open(root.path("huge").c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::ftruncate(file.get(), kSize), 0);
    ASSERT_EQ(
        ::pwrite(file.get(), kMark.data(), kMark.size(), static_cast<off_t>(kSize - kMark.size())),
        static_cast<ssize_t>(kMark.size()));
  }
  GetfileServer server({"--root", root.path()});
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send(Get("/huge")));
  const std::string head = "GETFILE OK 3221225472\r\n\r\n";
  const std::string begin = head + "the beginning";
  ASSERT_EQ(peer.Read(begin.size()).bytes, begin);
  // Counted, not kept.
  const timeval patience{
      .tv_sec = std::chrono::floor<std::chrono::seconds>(kDeadline * testing::kSlowdown).count(),
      .tv_usec = 0};
  ASSERT_EQ(::setsockopt(peer.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
  std::vector<char> buffer(kMiB);
  std::uint64_t received = begin.size() - head.size();
  while (received < kSize - kMark.size()) {
    const std::uint64_t left = kSize - kMark.size() - received;
    const ssize_t n = ::recv(peer.fd(), buffer.data(), std::min(buffer.size(), left), 0);
    ASSERT_GT(n, 0) << "after " << received << " bytes";
    received += static_cast<std::uint64_t>(n);
  }
  EXPECT_THAT(peer.ReadToEnd(), Answers(kMark));
}

TEST(GetfileServerTest, BothAddressFamiliesAreServed) {
  const TempDir root;
  root.Write("file", "twice");
  GetfileServer server({"--root", root.path()});
  EXPECT_THAT(RawPeer::Exchange("127.0.0.1", server.port(), Get("/file")), Answers(Ok("twice")));
  if (testing::MachineHasIpv6()) {
    EXPECT_THAT(RawPeer::Exchange("::1", server.port(), Get("/file")), Answers(Ok("twice")));
  }
}

// --- What is not ---

TEST(GetfileServerTest, WhatIsNotARegularFileInsideTheRootIsNotFound) {
  const TempDir outside;
  outside.Write("secret", "secret");
  const TempDir root;
  root.Write("file", "file");
  root.Write("folder/file", "file");
  root.Write(".hidden", "hidden");
  root.Write(".git/config", "hidden");
  root.Write("folder/.hidden/file", "hidden");
  root.Write("...", "hidden");
  ASSERT_EQ(::mkfifo(root.path("fifo").c_str(), 0666), 0);
  Symlink("fifo", root.path("fifo_link"));
  Symlink("/dev/null", root.path("device_link"));
  Symlink("loop_b", root.path("loop_a"));
  Symlink("loop_a", root.path("loop_b"));
  Symlink("self/self", root.path("self"));
  Symlink("nowhere", root.path("dangling"));
  Symlink(outside.path("secret"), root.path("absolute_escape"));
  Symlink(root.path("file"), root.path("absolute_inside"));
  const std::string outside_name = stdfs::path(outside.path()).filename();
  Symlink("../" + outside_name + "/secret", root.path("relative_escape"));
  Symlink("..", root.path("folder_escape"));
  Symlink("/proc/self/root", root.path("magic_escape"));

  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = ""};
  const std::string socket_path = root.path("socket");
  ASSERT_LT(socket_path.size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);

  std::vector<std::string> paths = {
      "/missing",
      "/missing/file",
      "/folder",
      "/folder/",
      "/folder/missing",
      "/",
      "//",
      "/.",
      "/file/",
      "/file/more",
      "/file/..",
      "/fifo",
      "/fifo_link",
      "/socket",
      "/device_link",
      "/loop_a",
      "/self",
      "/dangling",
      "/absolute_escape",
      "/absolute_inside",
      "/relative_escape",
      "/folder_escape/" + outside_name + "/secret",
      "/magic_escape/etc/passwd",
      "/..",
      "/../" + outside_name + "/secret",
      "/../../../../../../../../etc/passwd",
      "/folder/../../" + outside_name + "/secret",
      outside.path("secret"),
      "/.hidden",
      "/.git/config",
      "/folder/.hidden/file",
      "/...",
      "/folder/../.hidden",
      "/" + std::string(300, 'n'),
      "/folder/" + std::string(300, 'n') + "/file",
      "/folder/file%20",
      "/FILE",
  };
  // A device inside the root; only root can make one.
  if (::mknod(root.path("device").c_str(), S_IFCHR | 0666, ::makedev(1, 3)) == 0) {
    paths.emplace_back("/device");
  }
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  for (const std::string& path : paths) {
    EXPECT_THAT(server.Exchange(Get(path)), Answers(kNotFound)) << path;
  }
  EXPECT_EQ(server.Metric("getfile_requests_total{protocol=\"getfile\",status=\"FILE_NOT_FOUND\"}"),
            static_cast<double>(paths.size()));
}

TEST(GetfileServerTest, DotFilesAreServedWhenAllowed) {
  const TempDir root;
  root.Write(".hidden", "hidden");
  root.Write(".git/config", "in a hidden folder");
  GetfileServer server({"--root", root.path(), "--dot-files"});
  EXPECT_THAT(server.Exchange(Get("/.hidden")), Answers(Ok("hidden")));
  EXPECT_THAT(server.Exchange(Get("/.git/config")), Answers(Ok("in a hidden folder")));
  EXPECT_THAT(
      server.Exchange(Get("/../" + stdfs::path(root.path()).filename().string() + "/.hidden")),
      Answers(kNotFound));
}

TEST(GetfileServerTest, AFileWithoutPermissionIsAnError) {
  const TempDir root;
  root.Write("secret", "secret");
  root.Write("closed/file", "file");
  root.Write("open", "open");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"},
                       {.program = "", .as_nobody = true});
  ASSERT_EQ(::chmod(root.path("secret").c_str(), 0), 0);
  ASSERT_EQ(::chmod(root.path("closed").c_str(), 0), 0);
  EXPECT_THAT(server.Exchange(Get("/secret")), Answers(kError));
  EXPECT_THAT(server.Exchange(Get("/closed/file")), Answers(kError));
  EXPECT_THAT(server.Exchange(Get("/open")), Answers(Ok("open")));
  EXPECT_EQ(server.Metric("getfile_requests_total{protocol=\"getfile\",status=\"ERROR\"}"), 2);
}

TEST(GetfileServerTest, WithoutADescriptorForTheFileItIsAnErrorAndPasses) {
  const TempDir root;
  root.Write("first", "1");
  root.Write("second", "22");
  GetfileServer server({"--root", root.path()});
  RawPeer peer = server.Connect();
  const std::string begin = Ok("1");
  ASSERT_TRUE(peer.Send(GetKeepAlive("/first")));
  ASSERT_EQ(peer.Read(begin.size()).bytes, begin);
  {
    // The three standard descriptors are there, so no further one is to be had. (The worker's own
    // cached file goes as well, and does not help.)
    const DescriptorLimit limit(server.process().pid(), 3);
    ASSERT_TRUE(peer.Send(GetKeepAlive("/second")));
    ASSERT_EQ(peer.Read(kError.size()).bytes, kError);
  }
  ASSERT_TRUE(peer.Send(Get("/second")));
  EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("22")));
}

// --- Malformed requests ---

struct Malformed {
  const char* what;
  std::string bytes;
};

std::vector<Malformed> MalformedRequests() {
  const std::string end = "\r\n\r\n";
  const auto with_byte = [&](char c) { return "GETFILE GET /a" + std::string(1, c) + "b" + end; };
  return {
      {"another scheme", "PUTFILE GET /a" + end},
      {"scheme cut short", "GETFIL GET /a" + end},
      {"scheme too long", "GETFILES GET /a" + end},
      {"scheme in lower case", "getfile GET /a" + end},
      {"scheme in mixed case", "GetFile GET /a" + end},
      {"method in lower case", "GETFILE get /a" + end},
      {"another method", "GETFILE PUT /a" + end},
      {"method too long", "GETFILE GETS /a" + end},
      {"method missing", "GETFILE /a" + end},
      {"path missing", "GETFILE GET" + end},
      {"path missing after the blank", "GETFILE GET " + end},
      {"path without slash", "GETFILE GET a" + end},
      {"path with a dot instead of a slash", "GETFILE GET ./a" + end},
      {"backslash instead of slash", "GETFILE GET \\a" + end},
      {"leading blank", " GETFILE GET /a" + end},
      {"leading newline", "\r\nGETFILE GET /a" + end},
      {"two blanks after the scheme", "GETFILE  GET /a" + end},
      {"two blanks before the path", "GETFILE GET  /a" + end},
      {"tab instead of blank", "GETFILE\tGET\t/a" + end},
      {"trailing blank", "GETFILE GET /a " + end},
      {"a further token", "GETFILE GET /a /b" + end},
      {"a version", "GETFILE GET /a HTTP/1.1" + end},
      {"NUL in the path", with_byte('\0')},
      {"NUL in front", std::string(1, '\0') + "GETFILE GET /a" + end},
      {"control byte 1", with_byte('\x01')},
      {"BEL", with_byte('\a')},
      {"ESC", with_byte('\x1b')},
      {"tab in the path", with_byte('\t')},
      {"DEL", with_byte('\x7f')},
      {"LF only", "GETFILE GET /a\n\n"},
      {"CR only", "GETFILE GET /a\r\r"},
      {"LF CR", "GETFILE GET /a\n\r\n\r"},
      {"second line ended by LF only", "GETFILE GET /a\r\n\n"},
      {"CR in the path", "GETFILE GET /a\rb" + end},
      {"LF in the path", "GETFILE GET /a\nb" + end},
      {"unknown header line", "GETFILE GET /a\r\nHost: here" + end},
      {"known header in lower case", "GETFILE GET /a\r\nconnection: keep-alive" + end},
      {"known header with another value", "GETFILE GET /a\r\nConnection: close" + end},
      {"header without blank", "GETFILE GET /a\r\nConnection:keep-alive" + end},
      {"header with two blanks", "GETFILE GET /a\r\nConnection:  keep-alive" + end},
      {"the same header twice",
       "GETFILE GET /a\r\nConnection: keep-alive\r\nConnection: keep-alive" + end},
      {"folded line", "GETFILE GET /a\r\n Connection: keep-alive" + end},
      {"an answer", "GETFILE OK 5\r\n\r\nhello"},
      {"TLS", "\x16\x03\x01\x02\x0f\x01"},
      {"path of 4097 bytes", "GETFILE GET /" + std::string(4096, 'a') + end},
      {"header of 64 KiB", "GETFILE GET /a\r\nX: " + std::string(65536, 'x') + end},
      {"path of 64 KiB", "GETFILE GET /" + std::string(65536, 'a') + end},
      {"64 KiB of zeroes", std::string(65536, '\0')},
  };
}

TEST(GetfileServerTest, AMalformedRequestSentWholeIsInvalid) {
  const TempDir root;
  root.Write("a", "a");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  const auto requests = MalformedRequests();
  for (const Malformed& request : requests) {
    EXPECT_THAT(server.Exchange(request.bytes), Answers(kInvalid)) << request.what;
  }
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("a")));
  EXPECT_EQ(server.Metric("getfile_requests_total{protocol=\"getfile\",status=\"INVALID\"}"),
            static_cast<double>(requests.size()));
}

TEST(GetfileServerTest, AMalformedRequestSentByteByByteIsInvalid) {
  const TempDir root;
  root.Write("a", "a");
  GetfileServer server({"--root", root.path()});
  for (const Malformed& request : MalformedRequests()) {
    if (request.bytes.size() > 8192) continue;
    RawPeer peer = server.Connect();
    peer.SendSlowly(request.bytes);
    EXPECT_THAT(peer.ReadToEnd(), Answers(kInvalid)) << request.what;
  }
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("a")));
}

// --- How requests arrive ---

TEST(GetfileServerTest, ARequestMayBeSplitAnywhere) {
  const TempDir root;
  root.Write("a", "split");
  GetfileServer server({"--root", root.path()});
  const std::string request = GetKeepAlive("/a");
  for (std::size_t at = 1; at < request.size(); ++at) {
    RawPeer peer = server.Connect();
    ASSERT_TRUE(peer.Send(request.substr(0, at)));
    ASSERT_TRUE(server.WaitUntilRead(peer));
    ASSERT_TRUE(peer.Send(request.substr(at)));
    peer.ShutdownWrite();
    EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("split"))) << "split at byte " << at;
  }
}

TEST(GetfileServerTest, ARequestSentByteByByteIsServed) {
  const TempDir root;
  root.Write("a", "slow");
  GetfileServer server({"--root", root.path()});
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.SendSlowly(Get("/a")));
  EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("slow")));
}

TEST(GetfileServerTest, ACompleteRequestFollowedByHalfCloseIsServed) {
  const TempDir root;
  root.Write("small", "served");
  root.Write("large", Content(4 * kMiB));
  GetfileServer server({"--root", root.path()});
  for (const auto& [path, body] :
       {std::pair<std::string, std::string>{"/small", "served"}, {"/large", Content(4 * kMiB)}}) {
    RawPeer peer = server.Connect();
    ASSERT_TRUE(peer.Send(Get(path)));
    peer.ShutdownWrite();
    EXPECT_THAT(peer.ReadToEnd(), Answers(Ok(body))) << path;
  }
}

TEST(GetfileServerTest, APartOfARequestFollowedByHalfCloseIsInvalid) {
  const TempDir root;
  root.Write("a", "a");
  GetfileServer server({"--root", root.path()});
  const std::string request = GetKeepAlive("/a");
  for (std::size_t length = 1; length < request.size(); ++length) {
    RawPeer peer = server.Connect();
    ASSERT_TRUE(peer.Send(request.substr(0, length)));
    peer.ShutdownWrite();
    EXPECT_THAT(peer.ReadToEnd(), Answers(kInvalid)) << "after " << length << " bytes";
  }
}

TEST(GetfileServerTest, APeerThatSentNothingIsClosedSilently) {
  const TempDir root;
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  RawPeer peer = server.Connect();
  peer.ShutdownWrite();
  EXPECT_THAT(peer.ReadToEnd(), EndsSilently());
  for (const char* status : {"OK", "FILE_NOT_FOUND", "ERROR", "INVALID"}) {
    EXPECT_EQ(server.Metric(fmt::format(
                  "getfile_requests_total{{protocol=\"getfile\",status=\"{}\"}}", status)),
              0);
  }
}

TEST(GetfileServerTest, ThousandsThatConnectAndLeaveDoNotDisturbTheAcceptLoop) {
  constexpr int kPeers = 3000;
  const LoopbackLease lease(1);
  const TempDir root;
  root.Write("a", "still here");
  GetfileServer server(
      {"--root", root.path(), "--metrics", "127.0.0.1:0", "--listen", lease.address(0) + ":0"});
  for (int i = 0; i < kPeers; ++i) {
    RawPeer peer = server.Connect();
    if (i % 3 == 0) peer.Reset();
    if (i % 3 == 1) {
      ASSERT_TRUE(peer.Send("G"));
    }
  }
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("still here")));
  // The kernel may hold back those that say nothing, until they are gone.
  EXPECT_TRUE(Eventually(kDeadline, "every connection is gone",
                         [&] { return server.Metric("getfile_connections_open") == 0; }));
  EXPECT_GT(server.Metric("getfile_connections_accepted_total"), kPeers / 3);
  // A connection that was reset while it waited may be reported so, once.
  EXPECT_LE(server.Metric("getfile_accept_errors_total"), kPeers / 3);
}

// --- Time limits ---

TEST(GetfileServerTest, AHeaderThatDoesNotCompleteInTimeIsInvalid) {
  const TempDir root;
  GetfileServer server(
      {"--root", root.path(), "--metrics", "127.0.0.1:0", "--header-timeout", "1"});
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send("GETFILE GET /a\r\n\r"));
  EXPECT_THAT(peer.ReadToEnd(), Answers(kInvalid));
  // Counted when the connection has gone, which may take until the peer has closed, too.
  peer.Close();
  EXPECT_TRUE(Eventually(kDeadline, "the time-out is counted", [&] {
    return server.Metric("getfile_timeouts_total{limit=\"header\"}") == 1;
  }));
}

TEST(GetfileServerTest, ASilentPeerIsClosedSilentlyAfterTheHeaderTimeout) {
  const TempDir root;
  GetfileServer server(
      {"--root", root.path(), "--metrics", "127.0.0.1:0", "--header-timeout", "0.3"});
  RawPeer peer = server.Connect();
  EXPECT_THAT(peer.ReadToEnd(), EndsSilently());
  EXPECT_EQ(server.Metric("getfile_timeouts_total{limit=\"header\"}"), 1);
}

TEST(GetfileServerTest, AConnectionThatIdlesAfterAnAnswerIsClosedSilently) {
  const TempDir root;
  root.Write("a", "first");
  GetfileServer server({"--root", root.path(), "--header-timeout", "1"});
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send(GetKeepAlive("/a")));
  EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("first")));
}

TEST(GetfileServerTest, TheHeaderTimeoutIsTotalHoweverTheHeaderTrickles) {
  const TempDir root;
  GetfileServer server({"--root", root.path(), "--header-timeout", "1"});
  RawPeer peer = server.Connect();
  // A byte whenever the server has been silent for a while; this would go on for 80 s.
  const std::string request = Get("/" + std::string(4000, 'a'));
  bool answered = false;
  for (std::size_t i = 0; i < request.size() && !answered; ++i) {
    peer.Send(request.substr(i, 1));
    pollfd entry{peer.fd(), POLLIN, 0};
    answered = ::poll(&entry, 1, 20) > 0;
  }
  EXPECT_THAT(peer.ReadToEnd(), Answers(kInvalid));
}

// --- The end of a connection ---

TEST(GetfileServerTest, BytesAfterTheRequestAreDiscardedWithoutAReset) {
  const TempDir root;
  root.Write("small", "whole");
  GetfileServer server({"--root", root.path()});
  for (const std::string& junk :
       {std::string("x"), Get("/small"), std::string(kMiB, 'j'), Content(kMiB)}) {
    RawPeer peer = server.Connect();
    ASSERT_TRUE(peer.Send(Get("/small") + junk));
    EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("whole")));
  }
}

TEST(GetfileServerTest, BytesThatKeepComingDoNotDestroyALargeAnswer) {
  const TempDir root;
  const std::string body = Content(16 * kMiB);
  root.Write("large", body);
  GetfileServer server({"--root", root.path()});
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send(Get("/large")));
  const std::jthread sender([&] { peer.Send(std::string(kMiB, 'j')); });
  EXPECT_THAT(peer.ReadToEnd(), Answers(Ok(body)));
}

TEST(GetfileServerTest, BytesAfterAMalformedRequestAreDiscardedWithoutAReset) {
  const TempDir root;
  GetfileServer server({"--root", root.path()});
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send("nonsense" + std::string(kMiB, 'j')));
  EXPECT_THAT(peer.ReadToEnd(), Answers(kInvalid));
}

// --- Keep-alive ---

TEST(GetfileServerTest, AConnectionCarriesManyRequestsWhenAskedTo) {
  const TempDir root;
  root.Write("a", "first");
  root.Write("b", Content(2 * kMiB));
  root.Write("c", "");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  RawPeer peer = server.Connect();
  for (int round = 0; round < 10; ++round) {
    for (const auto& [path, answer] : {std::pair<std::string, std::string>{"/a", Ok("first")},
                                       {"/b", Ok(Content(2 * kMiB))},
                                       {"/c", Ok("")},
                                       {"/missing", std::string(kNotFound)}}) {
      ASSERT_TRUE(peer.Send(GetKeepAlive(path)));
      ASSERT_EQ(peer.Read(answer.size()).bytes, answer);
    }
  }
  // A request without the line is the last one.
  ASSERT_TRUE(peer.Send(Get("/a")));
  EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("first")));
  EXPECT_EQ(server.Metric("getfile_connections_accepted_total"), 1);
}

TEST(GetfileServerTest, PipelinedRequestsAreAnsweredInOrder) {
  const TempDir root;
  std::string requests;
  std::string answers;
  for (unsigned i = 0; i < 1000; ++i) {
    const std::string name = fmt::format("file{}", i % 37);
    if (i % 10 == 9) {
      requests += GetKeepAlive("/missing");
      answers += kNotFound;
      continue;
    }
    const std::string body = Content(i % 37, i % 37);
    requests += GetKeepAlive("/" + name);
    answers += Ok(body);
  }
  for (unsigned i = 0; i < 37; ++i) root.Write(fmt::format("file{}", i), Content(i, i));
  requests += Get("/file1");
  answers += Ok(Content(1, 1));
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  EXPECT_THAT(server.Exchange(requests), Answers(answers));
  EXPECT_EQ(server.Metric("getfile_connections_accepted_total"), 1);
}

TEST(GetfileServerTest, PipelinedRequestsForLargeFilesAreAnsweredInOrder) {
  const TempDir root;
  const std::string body = Content(3 * kMiB);
  root.Write("large", body);
  root.Write("small", "small");
  GetfileServer server({"--root", root.path()});
  std::string requests;
  std::string answers;
  for (int i = 0; i < 8; ++i) {
    requests += GetKeepAlive("/large") + GetKeepAlive("/small");
    answers += Ok(body) + Ok("small");
  }
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send(requests));
  peer.ShutdownWrite();
  EXPECT_THAT(peer.ReadToEnd(), Answers(answers));
}

TEST(GetfileServerTest, WhatIsPipelinedAfterTheLastRequestIsDiscarded) {
  const TempDir root;
  root.Write("a", "last");
  GetfileServer server({"--root", root.path()});
  EXPECT_THAT(server.Exchange(GetKeepAlive("/a") + Get("/a") + GetKeepAlive("/a") + Get("/a")),
              Answers(Ok("last") + Ok("last")));
}

TEST(GetfileServerTest, AMalformedRequestEndsAConnectionInTheMiddle) {
  const TempDir root;
  root.Write("a", "before");
  GetfileServer server({"--root", root.path()});
  EXPECT_THAT(server.Exchange(GetKeepAlive("/a") + GetKeepAlive("/a") + "GETFILE GET a\r\n\r\n" +
                              GetKeepAlive("/a")),
              Answers(Ok("before") + Ok("before") + std::string(kInvalid)));
}

TEST(GetfileServerTest, TheEndOfInputAfterPipelinedRequestsLeavesNoneUnanswered) {
  const TempDir root;
  root.Write("a", "answered");
  GetfileServer server({"--root", root.path()});
  std::string requests;
  std::string answers;
  for (int i = 0; i < 100; ++i) {
    requests += GetKeepAlive("/a");
    answers += Ok("answered");
  }
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send(requests));
  peer.ShutdownWrite();
  EXPECT_THAT(peer.ReadToEnd(), Answers(answers));

  RawPeer other = server.Connect();
  ASSERT_TRUE(other.Send(requests + "GETFILE G"));
  other.ShutdownWrite();
  EXPECT_THAT(other.ReadToEnd(), Answers(answers + std::string(kInvalid)));
}

// --- The other dialect ---

TEST(GetfileServerTest, TheLegacyDialectIsAnsweredByteForByte) {
  const TempDir root;
  root.Write("a", " with a blank\r\n\r\n");
  root.Write("empty", "");
  root.Write("closed", "closed");
  ASSERT_EQ(::chmod(root.path("closed").c_str(), 0), 0);
  GetfileServer server({"--root", root.path(), "--dialect", "legacy"},
                       {.program = "", .as_nobody = true});
  EXPECT_THAT(server.Exchange(Get("/a")), Answers("GETFILE OK 17  with a blank\r\n\r\n"));
  EXPECT_THAT(server.Exchange(Get("/empty")), Answers("GETFILE OK 0 "));
  EXPECT_THAT(server.Exchange(Get("/missing")), Answers("GETFILE FILE_NOT_FOUND 0\n"));
  EXPECT_THAT(server.Exchange(Get("/closed")), Answers("GETFILE ERROR 0\n"));
  EXPECT_THAT(server.Exchange("GETFILE GET a\r\n\r\n"), Answers("GETFILE INVALID 0\n"));
  EXPECT_THAT(server.Exchange(GetKeepAlive("/empty") + GetKeepAlive("/missing") + Get("/empty")),
              Answers("GETFILE OK 0 GETFILE FILE_NOT_FOUND 0\nGETFILE OK 0 "));
}

// --- Files that change ---

TEST(GetfileServerTest, AReplacedFileIsServedAtOnceWithoutRevalidationTime) {
  const TempDir root;
  root.Write("a", "version 0");
  GetfileServer server({"--root", root.path(), "--revalidate", "0"});
  for (int version = 1; version <= 50; ++version) {
    // Each of the two workers sees some of them.
    ASSERT_THAT(server.Exchange(Get("/a")), Answers(Ok(fmt::format("version {}", version - 1))));
    Replace(root, "a", fmt::format("version {}", version));
  }
  ASSERT_EQ(::unlink(root.path("a").c_str()), 0);
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(kNotFound));
}

TEST(GetfileServerTest, AReplacedFileIsServedSoonerOrLater) {
  const TempDir root;
  root.Write("a", "old");
  GetfileServer server({"--root", root.path()});
  for (int i = 0; i < 10; ++i) ASSERT_THAT(server.Exchange(Get("/a")), Answers(Ok("old")));
  Replace(root, "a", "the new one");
  EXPECT_TRUE(Eventually(kDeadline, "both workers serve the new file", [&] {
    for (int i = 0; i < 10; ++i) {
      const std::string bytes = server.Exchange(Get("/a")).bytes;
      if (bytes == Ok("old")) return false;
      EXPECT_EQ(bytes, Ok("the new one"));
    }
    return true;
  }));
}

TEST(GetfileServerTest, ADeletedFileIsNotFoundSoonerOrLater) {
  const TempDir root;
  root.Write("a", "still here");
  GetfileServer server({"--root", root.path()});
  for (int i = 0; i < 10; ++i) ASSERT_THAT(server.Exchange(Get("/a")), Answers(Ok("still here")));
  ASSERT_EQ(::unlink(root.path("a").c_str()), 0);
  EXPECT_TRUE(Eventually(kDeadline, "the file is gone for both workers", [&] {
    for (int i = 0; i < 10; ++i) {
      const std::string bytes = server.Exchange(Get("/a")).bytes;
      if (bytes == Ok("still here")) return false;
      EXPECT_EQ(bytes, kNotFound);
    }
    return true;
  }));
}

TEST(GetfileServerTest, ATransferUnderWayEndsWithTheBytesItBeganWith) {
  const TempDir root;
  const std::string body = Content(16 * kMiB);
  root.Write("replaced", body);
  root.Write("deleted", body);
  GetfileServer server({"--root", root.path(), "--revalidate", "0"});
  RawPeer first = server.Connect({.receive_buffer_bytes = 4096});
  RawPeer second = server.Connect({.receive_buffer_bytes = 4096});
  ASSERT_TRUE(first.Send(Get("/replaced")));
  ASSERT_TRUE(second.Send(Get("/deleted")));
  const std::string first_begin = first.Read(100).bytes;
  const std::string second_begin = second.Read(100).bytes;
  Replace(root, "replaced", "something else");
  ASSERT_EQ(::unlink(root.path("deleted").c_str()), 0);
  EXPECT_THAT(server.Exchange(Get("/replaced")), Answers(Ok("something else")));
  EXPECT_THAT(server.Exchange(Get("/deleted")), Answers(kNotFound));
  EXPECT_EQ(first_begin + first.ReadToEnd().bytes, Ok(body));
  EXPECT_EQ(second_begin + second.ReadToEnd().bytes, Ok(body));
}

TEST(GetfileServerTest, AFileCutShortWhileItIsSentIsBrokenOffAndCounted) {
  const TempDir root;
  const std::string body = Content(64 * kMiB);
  root.Write("a", body);
  root.Write("b", "others");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  RawPeer peer = server.Connect({.receive_buffer_bytes = 4096});
  ASSERT_TRUE(peer.Send(Get("/a")));
  std::string bytes = peer.Read(100).bytes;
  ASSERT_THAT(bytes, StartsWith("GETFILE OK 67108864\r\n\r\n"));
  ASSERT_EQ(::truncate(root.path("a").c_str(), kMiB), 0);
  const auto rest = peer.ReadToEnd();
  EXPECT_EQ(rest.end, End::kClosed);
  bytes += rest.bytes;
  bytes.erase(0, std::string_view("GETFILE OK 67108864\r\n\r\n").size());
  // It is not all, and what is still in the file is right. (Pages that were on their way when the
  // kernel cut the file are zeroed: sendfile(2) copies nothing.)
  EXPECT_LT(bytes.size(), body.size());
  EXPECT_TRUE(bytes.starts_with(body.substr(0, kMiB)));
  peer.Close();
  EXPECT_TRUE(Eventually(kDeadline, "the broken source is counted", [&] {
    const std::string page = server.MetricsPage();
    return FindMetric(page, "getfile_sources_broken_total") == 1 &&
           FindMetric(page, "getfile_answers_broken_total") == 1;
  }));
  EXPECT_THAT(server.Exchange(Get("/b")), Answers(Ok("others")));
}

}  // namespace
}  // namespace ds::getfile
