#include "getfile/server/file_source.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/check.h"
#include "common/base/unique_fd.h"
#include "tests/harness/temp_dir.h"

namespace {

/// How far the clocks of this program are ahead of the machine's.
std::atomic<std::int64_t> clocks_ahead_s{0};

std::int64_t SystemSeconds(clockid_t clock, timespec* time) {
  return ::syscall(SYS_clock_gettime, clock, time) == 0 ? time->tv_sec + clocks_ahead_s.load() : -1;
}

}  // namespace

// In place of the C library's, so that the minute after which a file is closed passes at once.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const std::int64_t seconds = SystemSeconds(clock, time);
  if (seconds < 0) return -1;
  time->tv_sec = seconds;
  return 0;
}
extern "C" time_t time(time_t* out) noexcept {
  timespec now{};
  const std::int64_t seconds = SystemSeconds(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = seconds;
  return seconds;
}

namespace ds::getfile {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

/// What a lookup has said, with the body read to its end.
struct Found {
  AnswerStatus status = AnswerStatus::kError;
  bool is_folder = false;
  std::string body;
  std::string etag;
  std::string content_type;
};

class FileSourceTest : public ::testing::Test, private LookupSink {
 protected:
  FileSourceTest() {
    clocks_ahead_s = 0;  // what is written now is fresh
    auto loop = net::EventLoop::Create();
    CHECK(loop.ok());
    loop_ = std::move(loop).value();
    thread_ = std::jthread([this] { loop_->Run(); });
    Serve({});
  }
  ~FileSourceTest() override {
    OnLoop([&] { source_.reset(); });
    loop_->Stop();
  }

  /// Runs `work` where the source is at home, and waits for it.
  void OnLoop(const std::function<void()>& work) {
    std::promise<void> done;
    loop_->Post([&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }

  void Serve(const FileSource::Options& options, bool dot_files = false) {
    auto tree = FileTree::FromRoot(root_.path(), dot_files);
    CHECK(tree.ok());
    OnLoop([&] { source_.emplace(loop_.get(), std::move(tree).value(), options); });
  }

  LookupResult Lookup(const std::string& path, Protocol protocol = Protocol::kGetfile) {
    Request request;
    request.protocol = protocol;
    request.path = path;
    LookupResult result;
    OnLoop([&] { result = std::get<LookupResult>(source_->Lookup(request, this)); });
    return result;
  }

  Found Fetch(const std::string& path, Protocol protocol = Protocol::kGetfile) {
    const LookupResult result = Lookup(path, protocol);
    Found found{.status = result.answer.status,
                .is_folder = result.answer.is_folder,
                .body = "",
                .etag = "",
                .content_type = ""};
    EXPECT_EQ(result.body != nullptr, found.status == AnswerStatus::kOk);
    if (result.body == nullptr) return found;
    found.etag = result.answer.fields->etag;
    found.content_type = result.answer.fields->content_type;
    found.body = Read(result.body.get(), 0, result.answer.length, Body::Outcome::kSent);
    return found;
  }
  std::string BodyOf(const std::string& path) { return Fetch(path).body; }
  AnswerStatus StatusOf(const std::string& path) { return Fetch(path).status; }

  /// What `body` sends of `bytes` bytes from `offset` on, until `end` is said.
  static std::string Read(Body* body, std::uint64_t offset, std::uint64_t bytes,
                          Body::Outcome end) {
    int ends[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    const UniqueFd ours(ends[0]);
    const UniqueFd theirs(ends[1]);
    std::string received;
    char buffer[4096];
    while (received.size() < bytes) {
      const Body::Sent sent =
          body->Send(theirs.get(), "", offset + received.size(), bytes - received.size(), false);
      const std::size_t before = received.size();
      for (ssize_t n = 0; (n = ::read(ours.get(), buffer, sizeof buffer)) > 0;) {
        received.append(buffer, static_cast<std::size_t>(n));
      }
      EXPECT_EQ(received.size() - before, sent.bytes);
      if (sent.outcome == Body::Outcome::kSocketFull) continue;
      if (sent.outcome == end && end != Body::Outcome::kSent) return received;
      EXPECT_EQ(sent.outcome, Body::Outcome::kSent);
      if (sent.outcome != Body::Outcome::kSent) return received;
    }
    EXPECT_EQ(end, Body::Outcome::kSent) << "it went on to its end";
    return received;
  }

  /// Whether it is sent though the file has lost its content meanwhile, which it has from here on.
  bool IsInMemory(const std::string& name) {
    const LookupResult result = Lookup("/" + name);
    EXPECT_EQ(::truncate(root_.path(name).c_str(), 0), 0);
    int ends[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    const UniqueFd ours(ends[0]);
    const UniqueFd theirs(ends[1]);
    const Body::Sent sent = result.body->Send(theirs.get(), "", 0, result.answer.length, false);
    if (sent.outcome == Body::Outcome::kSourceBroken) return false;
    EXPECT_EQ(sent.outcome, Body::Outcome::kSent);
    EXPECT_EQ(sent.bytes, result.answer.length);
    return true;
  }

  /// What arrives of `head` and `bytes` bytes from `offset` on, asked for in pieces of `bytes_max`.
  static std::string SendThroughASmallSocket(Body* body, std::string_view head,
                                             std::uint64_t offset, std::uint64_t bytes,
                                             std::uint64_t bytes_max, bool hold) {
    int ends[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    const UniqueFd ours(ends[0]);
    const UniqueFd theirs(ends[1]);
    const int smallest = 1;
    CHECK(::setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest) == 0);
    std::string received;
    bool was_full = false;
    while (!head.empty() || bytes > 0) {
      const Body::Sent sent =
          body->Send(theirs.get(), head, offset, std::min(bytes, bytes_max), hold);
      const std::size_t of_head = std::min<std::size_t>(head.size(), sent.bytes);
      const bool all = sent.bytes == head.size() + std::min(bytes, bytes_max);
      EXPECT_EQ(sent.outcome, all ? Body::Outcome::kSent : Body::Outcome::kSocketFull);
      if (!all && sent.outcome != Body::Outcome::kSocketFull) return received;
      was_full |= !all;
      head.remove_prefix(of_head);
      offset += sent.bytes - of_head;
      bytes -= sent.bytes - of_head;
      const std::size_t before = received.size();
      char buffer[512];
      for (ssize_t n = 0; (n = ::read(ours.get(), buffer, sizeof buffer)) > 0;) {
        received.append(buffer, static_cast<std::size_t>(n));
      }
      EXPECT_EQ(received.size() - before, sent.bytes);
    }
    EXPECT_TRUE(was_full);
    return received;
  }

  /// Seconds from now.
  static void SetModified(const std::string& file, std::int64_t seconds) {
    const timespec times[] = {{::time(nullptr), 0}, {::time(nullptr) + seconds, 0}};
    CHECK(::utimensat(AT_FDCWD, file.c_str(), times, 0) == 0);
  }

  /// The clocks jump, and the loop does what is due by then.
  void Pass(std::int64_t seconds) {
    clocks_ahead_s += seconds;
    OnLoop([] {});  // wakes it up; timers follow in the same turn
    OnLoop([] {});  // that turn is over
  }

  void Replace(const std::string& name, std::string_view bytes) {
    const std::string fresh = root_.Write(name + ".new", bytes);
    ASSERT_EQ(std::rename(fresh.c_str(), root_.path(name).c_str()), 0);
  }

  /// The files below the root that this process has open.
  std::vector<std::string> OpenFiles() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
      if (target.starts_with(root_.path() + "/")) {
        names.push_back(target.substr(root_.path().size() + 1));
      }
    }
    return names;
  }

  const testing::TempDir root_;
  std::unique_ptr<net::EventLoop> loop_;
  std::optional<FileSource> source_;
  std::jthread thread_;

 private:
  void OnLookup(LookupResult /*result*/) override { FAIL() << "files are found at once"; }
};

constexpr AnswerStatus kNothing = AnswerStatus::kFileNotFound;
constexpr FileSource::Options kStaleForADay{.revalidate = std::chrono::hours(24)};

// --- What is found ---

TEST_F(FileSourceTest, AFileIsFoundWithItsBytesAndFields) {
  root_.Write("page.html", "<p>page");
  root_.Write("empty", "");
  root_.Write("large", std::string(1 << 20, 'l'));
  const Found page = Fetch("/page.html");
  EXPECT_EQ(page.status, AnswerStatus::kOk);
  EXPECT_EQ(page.body, "<p>page");
  EXPECT_EQ(page.content_type, "text/html; charset=utf-8");
  EXPECT_THAT(page.etag, ::testing::MatchesRegex("\"[0-9a-f.-]+\""));
  EXPECT_EQ(StatusOf("/empty"), AnswerStatus::kOk);
  EXPECT_EQ(BodyOf("/large"), std::string(1 << 20, 'l'));
  EXPECT_NE(Fetch("/large").etag, page.etag);
}

TEST_F(FileSourceTest, AFolderIsItsIndexByHttpOnly) {
  root_.Write("folder/index.html", "index");
  EXPECT_EQ(Fetch("/folder/", Protocol::kHttp).body, "index");
  EXPECT_EQ(StatusOf("/folder/"), kNothing);
  const Found without_slash = Fetch("/folder", Protocol::kHttp);
  EXPECT_EQ(without_slash.status, kNothing);
  EXPECT_TRUE(without_slash.is_folder);
  const Found missing = Fetch("/missing/", Protocol::kHttp);
  EXPECT_EQ(missing.status, kNothing);
  EXPECT_FALSE(missing.is_folder);
  root_.Write("odd/index.html/file", "");
  const Found odd = Fetch("/odd/", Protocol::kHttp);
  EXPECT_EQ(odd.status, kNothing);
  EXPECT_FALSE(odd.is_folder) << "a redirect to the slash would go on for ever";
}

TEST_F(FileSourceTest, NothingButRegularFilesInsideTheRootIsFound) {
  const testing::TempDir outside;
  outside.Write("secret", "secret");
  root_.Write("file", "file");
  root_.Write("folder/file", "inside");
  root_.Write(".hidden", "hidden");
  root_.Write(".folder/file", "hidden");
  ASSERT_EQ(::mkfifo(root_.path("fifo").c_str(), 0666), 0);
  const std::string name = std::filesystem::path(outside.path()).filename();
  const std::vector<std::pair<std::string, std::string>> links = {
      {outside.path("secret"), "absolute"},
      {"../" + name + "/secret", "relative"},
      {"../../" + name + "/secret", "folder/relative"},
      {"..", "parent"},
      {"/", "top"},
      {"/dev/null", "device"},
      {"/proc/self/root", "magic"},
      {"fifo", "fifo_link"},
      {"loop", "loop"},
      {"nowhere", "dangling"},
      {root_.path("file"), "absolute_inside"},
  };
  for (const auto& [target, link] : links) {
    ASSERT_EQ(::symlink(target.c_str(), root_.path(link).c_str()), 0) << link;
  }
  for (const std::string& path : {std::string("/absolute"),
                                  std::string("/relative"),
                                  std::string("/folder/relative"),
                                  "/parent/" + name + "/secret",
                                  "/top" + outside.path("secret"),
                                  std::string("/device"),
                                  "/magic" + outside.path("secret"),
                                  std::string("/fifo"),
                                  std::string("/fifo_link"),
                                  std::string("/loop"),
                                  std::string("/dangling"),
                                  std::string("/absolute_inside"),
                                  "/../" + name + "/secret",
                                  "/folder/../../" + name + "/secret",
                                  outside.path("secret"),
                                  std::string("/folder"),
                                  std::string("/"),
                                  std::string("/file/"),
                                  std::string("/missing"),
                                  std::string("/.hidden"),
                                  std::string("/.folder/file"),
                                  "/" + std::string(300, 'n')}) {
    EXPECT_EQ(StatusOf(path), kNothing) << path;
  }
  EXPECT_THAT(OpenFiles(), IsEmpty()) << "what is refused is not kept";
  ASSERT_EQ(::symlink("folder/../file", root_.path("inside").c_str()), 0);
  EXPECT_EQ(BodyOf("/inside"), "file");
  Serve({}, /*dot_files=*/true);
  EXPECT_EQ(BodyOf("/.hidden"), "hidden");
  EXPECT_EQ(BodyOf("/.folder/file"), "hidden");
  EXPECT_EQ(StatusOf("/../" + name + "/secret"), kNothing);
}

// --- What is remembered ---

TEST_F(FileSourceTest, AFileIsLookedAtAgainAfterTheRevalidationTime) {
  Serve({.revalidate = std::chrono::seconds(10)});
  root_.Write("a", "first");
  const Found first = Fetch("/a");
  Replace("a", "second");
  Pass(8);
  EXPECT_EQ(BodyOf("/a"), "first");
  Pass(3);  // from the check, not from the last use
  const Found second = Fetch("/a");
  EXPECT_EQ(second.body, "second");
  EXPECT_NE(second.etag, first.etag);
  ASSERT_EQ(::unlink(root_.path("a").c_str()), 0);
  Pass(8);
  EXPECT_EQ(BodyOf("/a"), "second");
  Pass(3);
  EXPECT_EQ(StatusOf("/a"), kNothing);
  EXPECT_THAT(OpenFiles(), IsEmpty());
}

TEST_F(FileSourceTest, AnUnchangedFileIsKeptOverItsRevalidation) {
  Serve({.revalidate = std::chrono::seconds(10)});
  root_.Write("a", "same");
  const LookupResult before = Lookup("/a");
  Pass(11);
  EXPECT_EQ(Lookup("/a").body, before.body);
  EXPECT_THAT(OpenFiles(), ElementsAre("a"));
}

TEST_F(FileSourceTest, WithoutRevalidationTimeEveryChangeIsSeenAtOnce) {
  Serve({.revalidate = Duration::zero()});
  root_.Write("a", "first");
  EXPECT_EQ(BodyOf("/a"), "first");
  Replace("a", "other");
  EXPECT_EQ(BodyOf("/a"), "other") << "of the same size";
  root_.Write("a", "longer than before");  // the same inode
  EXPECT_EQ(BodyOf("/a"), "longer than before");
  ASSERT_EQ(::truncate(root_.path("a").c_str(), 6), 0);
  EXPECT_EQ(BodyOf("/a"), "longer");
  ASSERT_EQ(::unlink(root_.path("a").c_str()), 0);
  EXPECT_EQ(StatusOf("/a"), kNothing);
  ASSERT_EQ(::mkdir(root_.path("a").c_str(), 0755), 0);
  EXPECT_TRUE(Fetch("/a").is_folder);
  ASSERT_EQ(::rmdir(root_.path("a").c_str()), 0);
  root_.Write("a", "again");
  EXPECT_EQ(BodyOf("/a"), "again");
}

TEST_F(FileSourceTest, WhatIsNotThereIsNotRemembered) {
  Serve(kStaleForADay);
  EXPECT_EQ(StatusOf("/a"), kNothing);
  root_.Write("a", "here now");
  EXPECT_EQ(BodyOf("/a"), "here now");
}

TEST_F(FileSourceTest, TheLeastRecentlyUsedFileIsClosedFirst) {
  Serve({.revalidate = std::chrono::hours(24), .open_files_max = 2});
  for (const char* name : {"a", "b", "c"}) root_.Write(name, name);
  BodyOf("/a");
  BodyOf("/b");
  EXPECT_THAT(OpenFiles(), UnorderedElementsAre("a", "b"));
  BodyOf("/a");
  BodyOf("/c");
  EXPECT_THAT(OpenFiles(), UnorderedElementsAre("a", "c"));
  BodyOf("/b");
  EXPECT_THAT(OpenFiles(), UnorderedElementsAre("b", "c"));
}

TEST_F(FileSourceTest, WithoutRoomNothingIsRemembered) {
  Serve({.revalidate = std::chrono::hours(24), .open_files_max = 0});
  root_.Write("a", "first");
  EXPECT_EQ(BodyOf("/a"), "first");
  EXPECT_THAT(OpenFiles(), IsEmpty());
  Replace("a", "second");
  EXPECT_EQ(BodyOf("/a"), "second");
}

TEST_F(FileSourceTest, FilesThatNobodyAsksForAreClosedAfterAMinute) {
  Serve(kStaleForADay);
  root_.Write("a", "a");
  root_.Write("b", "b");
  BodyOf("/a");
  BodyOf("/b");
  Pass(40);
  BodyOf("/b");
  EXPECT_THAT(OpenFiles(), UnorderedElementsAre("a", "b"));
  Pass(30);
  EXPECT_THAT(OpenFiles(), ElementsAre("b"));
  Pass(70);
  EXPECT_THAT(OpenFiles(), IsEmpty());
  // And it begins anew.
  BodyOf("/a");
  EXPECT_THAT(OpenFiles(), ElementsAre("a"));
  Pass(70);
  EXPECT_THAT(OpenFiles(), IsEmpty());
}

TEST_F(FileSourceTest, AnotherTreeIsServedAtOnceAndAnswersUnderWayEndAsTheyBegan) {
  Serve(kStaleForADay);
  root_.Write("a", std::string(100'000, 'a'));
  LookupResult under_way = Lookup("/a");
  const testing::TempDir other;
  other.Write("a", "the other one");
  auto tree = FileTree::FromRoot(other.path(), /*dot_files=*/false);
  ASSERT_TRUE(tree.ok());
  OnLoop([&] { source_->SetTree(std::move(tree).value()); });
  EXPECT_EQ(BodyOf("/a"), "the other one");
  EXPECT_EQ(Read(under_way.body.get(), 0, 100'000, Body::Outcome::kSent),
            std::string(100'000, 'a'));
  under_way = {};
  EXPECT_THAT(OpenFiles(), IsEmpty());
}

// --- Files that change while they are sent ---

TEST_F(FileSourceTest, AReplacedFileIsSentToItsEnd) {
  Serve({.revalidate = Duration::zero()});
  root_.Write("a", std::string(100'000, 'o'));
  const LookupResult old = Lookup("/a");
  Replace("a", "new");
  EXPECT_EQ(BodyOf("/a"), "new");
  EXPECT_EQ(Read(old.body.get(), 50'000, 50'000, Body::Outcome::kSent), std::string(50'000, 'o'));
}

TEST_F(FileSourceTest, ATruncatedFileIsBrokenWhereItEnds) {
  Serve(kStaleForADay);
  root_.Write("a", std::string(100'000, 'a'));
  const LookupResult result = Lookup("/a");
  ASSERT_EQ(::truncate(root_.path("a").c_str(), 70'000), 0);
  EXPECT_EQ(Read(result.body.get(), 0, 100'000, Body::Outcome::kSourceBroken),
            std::string(70'000, 'a'));
}

// --- Small files that have settled are kept in memory ---

constexpr std::size_t kInMemoryMax = 16384;

TEST_F(FileSourceTest, AFileOf16KiBIsKeptInMemoryAndALargerOneIsNot) {
  Serve(kStaleForADay);
  root_.Write("one", "1");
  root_.Write("small", std::string(kInMemoryMax, 's'));
  root_.Write("larger", std::string(kInMemoryMax + 1, 'l'));
  Pass(3);
  EXPECT_TRUE(IsInMemory("one"));
  EXPECT_TRUE(IsInMemory("small"));
  EXPECT_FALSE(IsInMemory("larger"));
}

TEST_F(FileSourceTest, AFileThatWasChangedJustNowIsNotKeptInMemory) {
  Serve(kStaleForADay);
  root_.Write("fresh", "fresh");
  EXPECT_FALSE(IsInMemory("fresh"));
  // Changed just now, whatever its time of modification says.
  SetModified(root_.Write("set back", "set back"), -1000);
  EXPECT_FALSE(IsInMemory("set back"));
  SetModified(root_.Write("set ahead", "set ahead"), 1000);
  Pass(3);
  EXPECT_FALSE(IsInMemory("set ahead"));
}

TEST_F(FileSourceTest, AFreshFileGetsIntoMemoryWhenItIsLookedAtAgain) {
  Serve({.revalidate = std::chrono::seconds(10)});
  root_.Write("a", "fresh");
  const LookupResult fresh = Lookup("/a");
  Pass(9);
  EXPECT_EQ(Lookup("/a").body, fresh.body) << "not looked at so far";
  Pass(2);
  EXPECT_TRUE(IsInMemory("a"));
}

TEST_F(FileSourceTest, WhatIsNotRememberedIsNotKeptInMemory) {
  Serve({.open_files_max = 0});
  root_.Write("a", "settled");
  Pass(3);
  EXPECT_FALSE(IsInMemory("a"));
}

TEST_F(FileSourceTest, ChangesInPlaceAreSeenThoughTheContentWasInMemory) {
  Serve({.revalidate = Duration::zero()});
  root_.Write("a", "first");
  Pass(3);
  EXPECT_EQ(BodyOf("/a"), "first");
  root_.Write("a", "other");  // the same inode and size, and fresh again
  EXPECT_EQ(BodyOf("/a"), "other");
}

TEST_F(FileSourceTest, APartArrivesExactlyBehindItsHeadThoughTheSocketHoldsLittle) {
  const std::string head = "the head, " + std::string(6000, 'h');  // more than the socket holds
  for (const bool settled : {false, true}) {
    for (const std::size_t size : {std::size_t{1}, kInMemoryMax, kInMemoryMax + 1}) {
      std::string content(size, '\0');
      for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 7 + i / 251);
      Serve(kStaleForADay);
      root_.Write("a", content);
      if (settled) Pass(3);
      const LookupResult result = Lookup("/a");
      for (const std::size_t offset : {std::size_t{0}, size / 2, size - 1}) {
        for (const std::size_t bytes_max : {std::size_t{1000}, size}) {
          for (const bool hold : {false, true}) {
            ASSERT_TRUE(SendThroughASmallSocket(result.body.get(), head, offset, size - offset,
                                                bytes_max, hold) == head + content.substr(offset))
                << settled << ' ' << size << ' ' << offset << ' ' << bytes_max << ' ' << hold;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ds::getfile
