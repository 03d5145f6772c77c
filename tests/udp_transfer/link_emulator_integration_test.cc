#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "tests/harness/daemon_process.h"
#include "tests/harness/eventually.h"
#include "tests/harness/proc.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/temp_dir.h"

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;
using testing::DaemonProcess;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using testing::kDeadline;
using testing::RunTool;
using ::testing::SizeIs;
using testing::TempDir;
using testing::ToolProcess;
using testing::ToolResult;

/// Sockets of this process are made inside of the emulator's namespaces: it must be allowed to
/// enter them. Without root, it makes itself the root of a user namespace, and the emulator is its
/// child.
class BeRoot : public ::testing::Environment {
 public:
  void SetUp() override {
    if (::geteuid() == 0) return;
    const std::string uid = fmt::format("0 {} 1", ::geteuid());
    const std::string gid = fmt::format("0 {} 1", ::getegid());
    ASSERT_EQ(::unshare(CLONE_NEWUSER), 0) << ErrnoText(errno);
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << uid;
    std::ofstream("/proc/self/gid_map") << gid;
    ASSERT_EQ(::geteuid(), 0U);
  }
};
[[maybe_unused]] const auto* const kBeRoot = ::testing::AddGlobalTestEnvironment(new BeRoot);

std::string ProgramFolder() {
  const char* const folder = std::getenv("DS_BIN_DIR");  // NOLINT(concurrency-mt-unsafe)
  CHECK(folder != nullptr, "DS_BIN_DIR is not set");
  return folder;
}

enum class End { kA, kB };

/// An emulator that serves until it is told to end, and sockets in its sides.
class Link {
 public:
  static constexpr std::uint16_t kPort = 7000;

  explicit Link(std::vector<std::string> arguments)
      : process_({.program = "link-emulator", .arguments = WithJson(std::move(arguments))}) {}

  absl::Status Start() { return process_.StartAndWaitReady(); }
  DaemonProcess& process() { return process_; }

  std::string NamespacePath(End end) const {
    return process_.Key(end == End::kA ? "netns_a" : "netns_b");
  }
  std::string Address(End end, int family = AF_INET) const {
    return process_.Key(std::string(end == End::kA ? "a" : "b") + (family == AF_INET6 ? "6" : ""));
  }

  /// Calls `function` on a thread inside of the side.
  void In(End end, const std::function<void()>& function) const {
    UniqueFd name(::open(NamespacePath(end).c_str(), O_RDONLY | O_CLOEXEC));
    CHECK(name, "open the namespace");
    std::jthread([&] {
      CHECK(::setns(name.get(), CLONE_NEWNET) == 0, "enter the namespace");
      function();
    }).join();
  }

  UniqueFd Socket(End end, int family, int type, int protocol = 0) const {
    UniqueFd socket;
    In(end, [&] { socket.Reset(::socket(family, type | SOCK_CLOEXEC, protocol)); });
    CHECK(socket, "create a socket");
    return socket;
  }

  /// A UDP socket at kPort, connected to that of the other end.
  UniqueFd UdpSocket(End end, int family = AF_INET) const {
    UniqueFd socket = Socket(end, family, SOCK_DGRAM);
    const auto local = At(end, family, kPort);
    CHECK(::bind(socket.get(), Pointer(local), sizeof local) == 0);
    const auto peer = At(end == End::kA ? End::kB : End::kA, family, kPort);
    CHECK(::connect(socket.get(), Pointer(peer), sizeof peer) == 0);
    return socket;
  }

  sockaddr_storage At(End end, int family, std::uint16_t port) const {
    sockaddr_storage storage{};
    storage.ss_family = static_cast<sa_family_t>(family);
    const std::string address = Address(end, family);
    if (family == AF_INET) {
      auto* const in = reinterpret_cast<sockaddr_in*>(&storage);
      in->sin_port = htons(port);
      CHECK(::inet_pton(AF_INET, address.c_str(), &in->sin_addr) == 1);
    } else {
      auto* const in = reinterpret_cast<sockaddr_in6*>(&storage);
      in->sin6_port = htons(port);
      CHECK(::inet_pton(AF_INET6, address.c_str(), &in->sin6_addr) == 1);
    }
    return storage;
  }
  static const sockaddr* Pointer(const sockaddr_storage& address) {
    return reinterpret_cast<const sockaddr*>(&address);
  }

  /// Ends the link; the counters, by direction.
  nlohmann::json End() {
    EXPECT_EQ(process_.Terminate(), 0);
    return nlohmann::json::parse(process_.stdout_lines().back());
  }

 private:
  static std::vector<std::string> WithJson(std::vector<std::string> arguments) {
    arguments.emplace_back("--json");
    return arguments;
  }

  DaemonProcess process_;
};

/// Waits for a datagram; nothing after `patience`.
std::optional<std::string> Receive(const UniqueFd& socket, std::chrono::milliseconds patience) {
  pollfd fd{socket.get(), POLLIN, 0};
  if (::poll(&fd, 1, static_cast<int>(patience.count())) != 1) return std::nullopt;
  std::string bytes(65536, '\0');
  const ssize_t length = ::recv(socket.get(), bytes.data(), bytes.size(), 0);
  if (length < 0) return std::nullopt;
  bytes.resize(static_cast<std::size_t>(length));
  return bytes;
}

constexpr std::chrono::milliseconds kPatience = 30s;

/// Nothing in a direction is unaccounted for. REQUIRES: nothing was under way at the end.
void ExpectAddsUp(const nlohmann::json& direction) {
  EXPECT_EQ(direction["packets"].get<int>() + direction["duplicated"].get<int>(),
            direction["queue_dropped"].get<int>() + direction["lost"].get<int>() +
                direction["overflowed"].get<int>() + direction["refused"].get<int>() +
                direction["delivered"].get<int>())
      << direction;
  EXPECT_EQ(direction["dropped_by_device"], 0) << direction;
  EXPECT_EQ(direction["overflowed"], 0) << direction;
}

TEST(LinkEmulatorTest, DatagramsPassBothWaysAndNothingElseDoes) {
  Link link({});
  ASSERT_TRUE(link.Start().ok());
  for (const int family : {AF_INET, AF_INET6}) {
    const UniqueFd a = link.UdpSocket(End::kA, family);
    const UniqueFd b = link.UdpSocket(End::kB, family);
    for (int i = 0; i < 100; ++i) {
      const std::string text = fmt::format("datagram {}", i);
      ASSERT_EQ(::send(a.get(), text.data(), text.size(), 0), std::ssize(text));
      ASSERT_EQ(Receive(b, kPatience), text);
      ASSERT_EQ(::send(b.get(), text.data(), text.size(), 0), std::ssize(text));
      ASSERT_EQ(Receive(a, kPatience), text);
    }
  }
  const auto counters = link.End();
  for (const char* const direction : {"a_to_b", "b_to_a"}) {
    EXPECT_EQ(counters[direction]["packets"], 200);
    EXPECT_EQ(counters[direction]["delivered"], 200);
    // Headers of 28 and 48 bytes, "datagram " and one or two digits.
    EXPECT_EQ(counters[direction]["bytes"], 100 * (28 + 48) + 2 * (90 * 11 + 10 * 10));
    ExpectAddsUp(counters[direction]);
  }
}

TEST(LinkEmulatorTest, ADatagramOfTheMtuPassesAndALongerOneIsRefusedAtItsSender) {
  for (const std::size_t mtu : {std::size_t{1280}, std::size_t{1500}, std::size_t{65535}}) {
    Link link({"--mtu", std::to_string(mtu)});
    ASSERT_TRUE(link.Start().ok());
    const UniqueFd a = link.UdpSocket(End::kA);
    const UniqueFd b = link.UdpSocket(End::kB);
    const int discover = IP_PMTUDISC_DO;
    ASSERT_EQ(::setsockopt(a.get(), IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof discover), 0);
    const std::string longest(mtu - 28, 'x');
    ASSERT_EQ(::send(a.get(), longest.data(), longest.size(), 0), std::ssize(longest));
    ASSERT_EQ(Receive(b, kPatience), longest);
    const std::string longer = longest + 'x';
    EXPECT_EQ(::send(a.get(), longer.data(), longer.size(), 0), -1);
    EXPECT_EQ(errno, EMSGSIZE);
  }
}

/// The numbers of the datagrams, of 200, that come out at b.
std::set<int> NumbersThatArrive(const std::vector<std::string>& arguments,
                                nlohmann::json* counters) {
  Link link(arguments);
  EXPECT_TRUE(link.Start().ok());
  const UniqueFd a = link.UdpSocket(End::kA);
  const UniqueFd b = link.UdpSocket(End::kB);
  for (int i = 0; i < 200; ++i) {  // fit into the receiving socket
    const std::string text = std::to_string(i);
    EXPECT_EQ(::send(a.get(), text.data(), text.size(), 0), std::ssize(text));
  }
  // One that arrives behind them says that there is nothing more to come.
  int sent = 200;
  std::set<int> numbers;
  EXPECT_TRUE(Eventually(kDeadline, "the last datagram arrives", [&] {
    EXPECT_EQ(::send(a.get(), "end", 3, 0), 3);
    ++sent;
    while (const auto text = Receive(b, 20ms)) {
      if (*text == "end") return true;
      EXPECT_TRUE(numbers.insert(std::stoi(*text)).second) << *text << " came twice";
    }
    return false;
  }));
  // Nothing is under way at the end.
  EXPECT_TRUE(Eventually(kDeadline, "each is lost or delivered", [&] {
    EXPECT_TRUE(link.process().Signal(SIGUSR1));
    const std::string log = link.process().stderr_text();
    const std::size_t begin = log.rfind("a_to_b:");
    const std::size_t end = log.find('\n', begin);
    if (begin == std::string::npos || end == std::string::npos) return false;
    const std::string line = log.substr(begin, end - begin);
    const auto counter = [&line](const std::string& name) {
      const std::size_t at = line.find(" " + name + " ");
      return at == std::string::npos ? 0 : std::stoi(line.substr(at + name.size() + 2));
    };
    return counter("packets") == sent && counter("lost") + counter("delivered") == sent;
  }));
  *counters = link.End();
  return numbers;
}

TEST(LinkEmulatorTest, WhatIsLostIsDecidedByTheSeed) {
  nlohmann::json counters;
  const std::set<int> first = NumbersThatArrive({"--loss", "20,0", "--seed", "5"}, &counters);
  const int lost = 200 - static_cast<int>(first.size());
  // A binomial distribution: 40 of them, with a standard deviation below 6. Being that of a seed,
  // the number is always the same.
  EXPECT_GT(lost, 15);
  EXPECT_LT(lost, 65);
  // The further datagrams ("end") may be lost as well.
  EXPECT_GE(counters["a_to_b"]["lost"], lost);
  EXPECT_EQ(counters["a_to_b"]["packets"].get<int>() - counters["a_to_b"]["lost"].get<int>(),
            counters["a_to_b"]["delivered"].get<int>());
  ExpectAddsUp(counters["a_to_b"]);

  EXPECT_EQ(NumbersThatArrive({"--loss", "20,0", "--seed", "5", "--delay", "3"}, &counters), first);
  EXPECT_NE(NumbersThatArrive({"--loss", "20,0", "--seed", "6"}, &counters), first);
  EXPECT_THAT(NumbersThatArrive({"--loss", "0,100"}, &counters), SizeIs(200));
}

TEST(LinkEmulatorTest, AFullQueueDropsWhatComesLast) {
  Link link({"--rate", "0.0001", "--queue", "3p"});
  ASSERT_TRUE(link.Start().ok());
  const UniqueFd a = link.UdpSocket(End::kA);
  const std::string text(1172, 'x');  // 1200 bytes: 96 s, during the test the queue does not move
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(::send(a.get(), text.data(), text.size(), 0), std::ssize(text));
  }
  EXPECT_TRUE(Eventually(kDeadline, "all are counted, as SIGUSR1 says", [&] {
    EXPECT_TRUE(link.process().Signal(SIGUSR1));
    return link.process().stderr_text().find("a_to_b: packets 20") != std::string::npos;
  }));
  const auto counters = link.End();
  EXPECT_EQ(counters["a_to_b"]["packets"], 20);
  EXPECT_EQ(counters["a_to_b"]["queue_dropped"], 17);
  EXPECT_EQ(counters["a_to_b"]["queue_bytes_max"], 3600);
  EXPECT_EQ(counters["a_to_b"]["delivered"], 0);
}

TEST(LinkEmulatorTest, TcpGetsItsStreamThroughALinkThatDoesEverythingWrong) {
  Link link({"--rate", "100", "--delay", "1", "--jitter", "0.5", "--loss", "2", "--duplicate", "2",
             "--reorder", "2", "--reorder-by", "3", "--corrupt", "2", "--seed", "9"});
  ASSERT_TRUE(link.Start().ok());
  const UniqueFd listener = link.Socket(End::kB, AF_INET, SOCK_STREAM);
  const auto address = link.At(End::kB, AF_INET, Link::kPort);
  ASSERT_EQ(::bind(listener.get(), Link::Pointer(address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);

  std::string sent(2'000'000, '\0');
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 31 + i / 251);
  std::jthread sender([&] {
    const UniqueFd socket = link.Socket(End::kA, AF_INET, SOCK_STREAM);
    ASSERT_EQ(::connect(socket.get(), Link::Pointer(address), sizeof address), 0);
    for (std::size_t done = 0; done < sent.size();) {
      const ssize_t n = ::send(socket.get(), sent.data() + done, sent.size() - done, MSG_NOSIGNAL);
      ASSERT_GT(n, 0);
      done += static_cast<std::size_t>(n);
    }
  });
  const UniqueFd socket(::accept(listener.get(), nullptr, nullptr));
  std::string received;
  std::string piece(65536, '\0');
  for (ssize_t n = 0; (n = ::recv(socket.get(), piece.data(), piece.size(), 0)) > 0;) {
    received.append(piece.data(), static_cast<std::size_t>(n));
  }
  sender.join();
  EXPECT_TRUE(received == sent);
  const auto counters = link.End();
  const auto& direction = counters["a_to_b"];
  EXPECT_GT(direction["packets"], 1380) << "none is longer than the MTU";
  for (const char* const counter : {"lost", "corrupted", "duplicated", "reordered"}) {
    EXPECT_GT(direction[counter], 0) << counter;
  }
}

TEST(LinkEmulatorTest, AnEchoComesBackAndNotBeforeTheRoundTripIsOver) {
  Link link({"--delay", "10,20"});
  ASSERT_TRUE(link.Start().ok());
  const UniqueFd socket = link.Socket(End::kA, AF_INET, SOCK_RAW, IPPROTO_ICMP);
  const auto address = link.At(End::kB, AF_INET, 0);
  icmphdr request{};
  request.type = ICMP_ECHO;
  request.un.echo.id = htons(77);
  request.checksum = static_cast<std::uint16_t>(~(htons(ICMP_ECHO << 8U) + htons(77)));
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(
      ::sendto(socket.get(), &request, sizeof request, 0, Link::Pointer(address), sizeof address),
      std::ssize(std::array<char, sizeof request>{}));
  const auto reply = Receive(socket, kPatience);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 30ms);
  ASSERT_TRUE(reply.has_value());
  ASSERT_THAT(*reply, SizeIs(20 + sizeof request));
  EXPECT_EQ((*reply)[20], ICMP_ECHOREPLY);
}

TEST(LinkEmulatorTest, ACommandInSideAReachesAServerInSideB) {
  const TempDir folder;
  std::string content(300'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 + i / 253);
  folder.Write("files/data.bin", content);
  const std::string programs = ProgramFolder();
  const ToolResult result = RunTool(
      "link-emulator",
      {"--rate", "100", "--delay", "2", "--loss", "1", "--json", "--server",
       fmt::format("exec {}/getfile-server --root {} --listen $LINK_LOCAL:8080 --allow-insecure",
                   programs, folder.path("files")),
       "--", "sh", "-c",
       fmt::format("{}/getfile-client -s $LINK_PEER -p 8080 -o {} /data.bin && exit 42", programs,
                   folder.path("out"))});
  EXPECT_EQ(result.exit_code, 42) << result.err;
  EXPECT_TRUE(folder.Read("out/data.bin") == content);
  EXPECT_THAT(result.err, HasSubstr("READY getfile-server")) << "what a server prints";
  std::istringstream lines(result.out);
  std::vector<std::string> all;
  for (std::string line; std::getline(lines, line);) all.push_back(line);
  ASSERT_THAT(all, SizeIs(2)) << result.out;
  EXPECT_GT(nlohmann::json::parse(all.back())["b_to_a"]["delivered_bytes"], content.size());
}

TEST(LinkEmulatorTest, AProgramCanJoinASideOfARunningLink) {
  Link link({});
  ASSERT_TRUE(link.Start().ok());
  for (const End end : {End::kA, End::kB}) {
    const std::string side = end == End::kA ? "a" : "b";
    struct stat of_link {};
    ASSERT_EQ(::stat(link.NamespacePath(end).c_str(), &of_link), 0);
    const ToolResult result =
        RunTool("link-emulator", {"--join", fmt::format("{}:{}", link.process().pid(), side), "--",
                                  "stat", "-L", "-c", "%i", "/proc/self/ns/net"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.out, fmt::format("{}\n", of_link.st_ino));
  }
}

/// Processes that have `text` in their environment, and descriptors or namespaces `net:[…]` of
/// `inodes` that any process holds.
std::vector<std::string> LeftBehind(const std::string& text, const std::set<std::string>& inodes) {
  std::vector<std::string> found;
  for (const std::string& process : testing::ListFolder("/proc")) {
    std::ifstream file(process + "/environ");
    const std::string environment((std::istreambuf_iterator<char>(file)), {});
    if (environment.find(text) != std::string::npos) found.push_back(process);
    std::vector<std::string> links = testing::ListFolder(process + "/fd");
    links.push_back(process + "/ns/net");
    for (const std::string& link : links) {
      std::error_code error;
      const auto target = std::filesystem::read_symlink(link, error);
      if (!error && inodes.contains(target.string())) found.push_back(link);
    }
  }
  return found;
}

TEST(LinkEmulatorTest, NothingIsLeftBehindWhenItIsKilled) {
  const std::string mark = fmt::format("LEFT_BEHIND_MARK={}", ::getpid());
  // Children of children, in sessions and process groups of their own.
  const std::string family = "setsid sleep 1000 & (setsid sh -c 'sleep 1000; :' &) ; ";
  ToolProcess emulator("link-emulator",
                       {"--server",
                        family + "exec python3 -c 'import signal, socket; s = socket.socket(); "
                                 "s.bind((\"\", 9)); s.listen(); print(\"bound\"); signal.pause()'",
                        "--", "sh", "-c", family + "trap '' TERM HUP; echo started; sleep 1000; :"},
                       {.environment = {{"LEFT_BEHIND_MARK", std::to_string(::getpid())}}});
  ASSERT_TRUE(emulator.Start().ok());
  ASSERT_TRUE(
      Eventually(kDeadline, "the command runs", [&] { return emulator.out() == "started\n"; }));
  std::set<std::string> inodes;
  for (const char* const fd : {"100", "101"}) {
    inodes.insert(
        std::filesystem::read_symlink(fmt::format("/proc/{}/fd/{}", emulator.pid(), fd)).string());
  }
  ASSERT_THAT(inodes, SizeIs(2));
  ASSERT_TRUE(Eventually(kDeadline, "all of the family run", [&] {
    return LeftBehind(mark, {}).size() >= 10;
  })) << ::testing::PrintToString(LeftBehind(mark, {}));
  ASSERT_GE(LeftBehind("no such mark", inodes).size(), 10U);

  ASSERT_TRUE(emulator.Signal(SIGKILL));
  EXPECT_EQ(emulator.Wait().exit_code, 128 + SIGKILL);
  EXPECT_TRUE(Eventually(kDeadline, "all are gone", [&] {
    return LeftBehind(mark, inodes).empty();
  })) << ::testing::PrintToString(LeftBehind(mark, inodes));
}

TEST(LinkEmulatorTest, ASignalEndsTheCommandAndTheServers) {
  const std::string mark = fmt::format("LEFT_BEHIND_MARK={}-{}", ::getpid(), SIGTERM);
  ToolProcess emulator(
      "link-emulator", {"--quiet", "--", "sh", "-c", "setsid sleep 1000 & echo started; wait"},
      {.environment = {{"LEFT_BEHIND_MARK", fmt::format("{}-{}", ::getpid(), SIGTERM)}}});
  ASSERT_TRUE(emulator.Start().ok());
  ASSERT_TRUE(
      Eventually(kDeadline, "the command runs", [&] { return emulator.out() == "started\n"; }));
  ASSERT_TRUE(emulator.Signal(SIGTERM));
  EXPECT_EQ(emulator.Wait().exit_code, 128 + SIGTERM);
  EXPECT_THAT(LeftBehind(mark, {}), ElementsAre());
}

TEST(LinkEmulatorTest, TheLinkEndsWithItsCommand) {
  EXPECT_EQ(RunTool("link-emulator", {"--quiet", "--", "true"}).exit_code, 0);
  EXPECT_EQ(RunTool("link-emulator", {"--quiet", "--", "sh", "-c", "kill -9 $$"}).exit_code, 137);
  const std::string server =
      "exec python3 -c 'import socket; s = socket.socket(); s.bind((\"\", 9)); s.listen(); "
      "s.accept()'";
  const ToolResult result =
      RunTool("link-emulator", {"--quiet", "--server", server, "--", "sh", "-c",
                                "echo $LINK_LOCAL $LINK_PEER $LINK_LOCAL6 $LINK_PEER6"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "10.77.0.1 10.77.0.2 fd77::1 fd77::2\n");
}

TEST(LinkEmulatorTest, WhatCannotBeDoneIsSaidInOneLine) {
  struct Case {
    std::vector<std::string> arguments;
    int exit_code;
    const char* text;
  };
  for (const Case& test : std::vector<Case>{
           {{"--loss", "101"}, 2, "--loss"},
           {{"--queue", "64p"}, 2, "--rate"},
           {{"--rate", "0"}, 2, "--rate"},
           {{"--mtu", "1000"}, 2, "--mtu"},
           {{"--no-such-option"}, 2, "--no-such-option"},
           {{"--join", "x:a", "--", "true"}, 2, "--join"},
           {{"--join", "1", "--", "true"}, 2, "--join"},
           {{"--join", "1:c", "--", "true"}, 2, "--join"},
           {{"--join", fmt::format("{}:a", ::getpid())}, 2, "COMMAND"},
           {{"--join", fmt::format("{}:a", ::getpid()), "--", "true"}, 1, "/fd/100"},
           {{"--", "/no/such/program"}, 1, "start \"/no/such/program\" in side a: No such file"},
           {{"--server", "exit 3", "--", "true"}, 1, "\"exit 3\": it ended with exit code 3"},
           {{"--server", "sleep 100", "--server-timeout", "0.2", "--drain-timeout", "1", "--",
             "true"},
            1,
            "--server-timeout"},
       }) {
    const ToolResult result = RunTool("link-emulator", test.arguments);
    EXPECT_EQ(result.exit_code, test.exit_code) << result.err;
    EXPECT_THAT(result.err, HasSubstr(test.text));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

/// Runs the emulator in a mount namespace with another /dev/net.
ToolResult RunWithTun(const std::string& prepare, const std::string& command) {
  const std::string program = ProgramFolder() + "/link-emulator";
  return RunTool("unshare",
                 {"--mount", "sh", "-c",
                  fmt::format("set -e; mount -t tmpfs -o mode=755 tmpfs /dev/net; {}; {}", prepare,
                              fmt::format(fmt::runtime(command), program))});
}

TEST(LinkEmulatorTest, WithoutTheTunDeviceItSaysWhatIsMissing) {
  const ToolResult missing = RunWithTun(":", "exec {} -- true");
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("/dev/net/tun: No such file or directory (the TUN driver is"));
}

TEST(LinkEmulatorTest, OtherUsersGetALinkWhereTheDeviceIsOpenToThemAndElseAreTold) {
  const std::string as_nobody =
      "exec setpriv --reuid=65534 --regid=65534 --clear-groups {} --quiet -- "
      "sh -c 'echo $LINK_LOCAL; id -u'";
#if !defined(__SANITIZE_THREAD__)  // whose own thread forbids the change of the user namespace
  const ToolResult open = RunWithTun("mknod -m 666 /dev/net/tun c 10 200", as_nobody);
  EXPECT_EQ(open.exit_code, 0) << open.err;
  EXPECT_EQ(open.out, "10.77.0.1\n0\n") << "root of a user namespace of its own";
#endif
  const ToolResult shut = RunWithTun("mknod -m 600 /dev/net/tun c 10 200", as_nobody);
  EXPECT_EQ(shut.exit_code, 1) << shut.err;
  EXPECT_THAT(shut.err, HasSubstr("/dev/net/tun: Permission denied (run as root, or allow it"));
}

}  // namespace
}  // namespace ds::udp_transfer
