#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "tests/getfile/getfile_server.h"
#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/sha256.h"
#include "tests/harness/temp_dir.h"

namespace ds::getfile {
namespace {

using nlohmann::json;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::LoopbackLease;
using ::testing::Not;
using testing::RunTool;
using testing::TempDir;
using testing::ToolProcess;
using testing::ToolResult;

using Flags = std::vector<std::string>;

Flags operator+(Flags a, const Flags& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// A way to speak to a server.
struct Way {
  const char* protocol;
  bool keep_alive;

  Flags flags() const {
    Flags flags = {"--protocol", protocol};
    if (keep_alive) flags.emplace_back("--keep-alive");
    return flags;
  }
};
constexpr Way kWays[] = {{"getfile", false}, {"getfile", true}, {"http", false}, {"http", true}};

void PrintTo(const Way& way, std::ostream* out) {
  *out << way.protocol << (way.keep_alive ? " keep-alive" : "");
}

/// What came of getfile-bench with --json.
struct Outcome {
  int exit_code = -1;
  json report;  ///< null if there was none
  std::string err;
};

Outcome ToOutcome(const ToolResult& result) {
  return {result.exit_code, json::parse(result.out, nullptr, /*allow_exceptions=*/false),
          result.err};
}

Outcome Bench(const std::string& host, std::uint16_t port, const Flags& flags) {
  return ToOutcome(
      RunTool("getfile-bench", Flags{"-s", host, "-p", std::to_string(port), "--json"} + flags));
}

/// What holds for every report.
void ExpectConsistent(const json& report) {
  ASSERT_TRUE(report.is_object());
  const double seconds = report["seconds"];
  EXPECT_GE(seconds, 0);
  EXPECT_NEAR(report["requests_per_second"].get<double>() * seconds, report["requests"], 0.01);
  EXPECT_NEAR(report["bytes_per_second"].get<double>() * seconds, report["bytes"], 1);
  const auto& latency = report["latency_us"];
  double last = 0;
  for (const char* key : {"p50", "p90", "p99", "p999", "p9999", "max"}) {
    EXPECT_GE(latency[key], last) << key;
    last = latency[key];
  }
  EXPECT_LE(latency["mean"], latency["max"]);
  EXPECT_EQ(latency["max"] == 0, report["requests"] == 0);
  EXPECT_GE(report["client_cpu_fraction"], 0);
}

/// A folder, a workload of its files and their digests, and a server of it: one for all tests of a
/// suite.
class GetfileBenchTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kSizes[] = {0, 5, 4096, 200'000};

  struct Served {
    TempDir root;
    TempDir files;
    std::string workload;
    std::string sums;
    std::unique_ptr<GetfileServer> server;
  };

  static void SetUpTestSuite() {
    served_ = std::make_unique<Served>();
    std::string paths;
    std::string sums;
    for (const std::uint64_t size : kSizes) {
      const std::string name = fmt::format("of/{}", size);
      const std::string content = Content(size, 7);
      served_->root.Write(name, content);
      paths += fmt::format("/{} ", name);
      sums += fmt::format("{}  {}\n", testing::Sha256Hex(content), name);
    }
    served_->workload = served_->files.Write("workload", paths);
    served_->sums = served_->files.Write("sums", sums);
    served_->server = std::make_unique<GetfileServer>(
        std::vector<std::string>{"--root", served_->root.path(), "--metrics", "127.0.0.1:0"});
  }
  static void TearDownTestSuite() { served_.reset(); }

  static const GetfileServer& server() { return *served_->server; }
  static std::string Port() { return std::to_string(server().port()); }
  static Flags Workload() { return {"-w", served_->workload}; }
  static Outcome Bench(const Flags& flags) {
    return getfile::Bench(server().host(), server().port(), flags);
  }
  /// Answers with status OK so far.
  static double Answered(const std::string& protocol) {
    return server().Metric(
        fmt::format("getfile_requests_total{{protocol=\"{}\",status=\"OK\"}}", protocol));
  }

  static std::unique_ptr<Served> served_;
  const TempDir files_;
};

std::unique_ptr<GetfileBenchTest::Served> GetfileBenchTest::served_;

class GetfileBenchWayTest : public GetfileBenchTest, public ::testing::WithParamInterface<Way> {
 protected:
  /// What the server has done since the test began.
  double Since(const char* series) const { return server().Metric(series) - before_.at(series); }
  double AnsweredSince() const { return Answered(GetParam().protocol) - answered_before_; }

  static constexpr const char* kBroken = "getfile_answers_broken_total";
  static constexpr const char* kAccepted = "getfile_connections_accepted_total";

 private:
  const std::map<std::string, double> before_ = {{kBroken, server().Metric(kBroken)},
                                                 {kAccepted, server().Metric(kAccepted)}};
  const double answered_before_ = Answered(GetParam().protocol);
};

TEST_P(GetfileBenchWayTest, ANumberOfRequestsIsMadeExactly) {
  const Outcome run =
      Bench(GetParam().flags() + Workload() + Flags{"-t", "2", "-c", "7", "-r", "401"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectConsistent(run.report);
  EXPECT_EQ(run.report["protocol"], GetParam().protocol);
  EXPECT_EQ(run.report["threads"], 2);
  EXPECT_EQ(run.report["connections"], 7);
  EXPECT_EQ(run.report["requests"], 401);
  EXPECT_THAT(run.report["errors"], IsEmpty());
  // Each path a hundred times, and the first once more.
  EXPECT_EQ(run.report["bytes"], 100 * (0 + 5 + 4096 + 200'000) + 0);
  EXPECT_TRUE(Eventually(kDeadline, "the server has counted 401 answers",
                         [&] { return AnsweredSince() == 401; }));
  EXPECT_EQ(Since(kBroken), 0);
  EXPECT_EQ(Since(kAccepted), GetParam().keep_alive ? 7 : 401);
}

TEST_P(GetfileBenchWayTest, ADurationEndsWithTheLastAnswer) {
  const Outcome run = Bench(GetParam().flags() + Workload() + Flags{"-c", "3", "-d", "0.3"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectConsistent(run.report);
  EXPECT_GE(run.report["seconds"], 0.3);
  EXPECT_GT(run.report["requests"], 0);
  const std::uint64_t requests = run.report["requests"];
  EXPECT_TRUE(Eventually(kDeadline, "the server has counted as many answers",
                         [&] { return AnsweredSince() == static_cast<double>(requests); }));
  EXPECT_EQ(Since(kBroken), 0);
}

TEST_P(GetfileBenchWayTest, AnOpenLoopMakesNoMoreRequestsThanItsRate) {
  const Outcome run = Bench(GetParam().flags() + Workload() +
                            Flags{"-t", "2", "-c", "6", "-d", "0.5", "--rate", "400"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectConsistent(run.report);
  EXPECT_GT(run.report["requests"], 0);
  EXPECT_LE(run.report["requests"], 200);  // that many are due within the time
}

TEST_P(GetfileBenchWayTest, AnOpenLoopMakesANumberOfRequestsExactly) {
  const Outcome run = Bench(GetParam().flags() + Workload() +
                            Flags{"-t", "3", "-c", "5", "-r", "100", "--rate", "100000"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectConsistent(run.report);
  EXPECT_EQ(run.report["requests"], 100);
  EXPECT_TRUE(Eventually(kDeadline, "the server has counted 100 answers",
                         [&] { return AnsweredSince() == 100; }));
}

TEST_P(GetfileBenchWayTest, ContentIsVerified) {
  const std::string name = fmt::format("large_{}_{}", GetParam().protocol, GetParam().keep_alive);
  const std::string content = Content(3'000'000, 9);
  served_->root.Write(name, content);
  const std::string workload =
      files_.Write("workload", served_->files.Read("workload") + "/" + name);
  const auto verify = [&](std::string_view of) {
    return Flags{"--verify",
                 files_.Write("sums", served_->files.Read("sums") +
                                          fmt::format("{}  ./{}\n", testing::Sha256Hex(of), name))};
  };
  const Flags flags = GetParam().flags() + Flags{"-c", "4", "-r", "50", "-w", workload};
  const Outcome good = Bench(flags + verify(content));
  EXPECT_EQ(good.exit_code, 0) << good.err;
  EXPECT_EQ(good.report["requests"], 50);
  EXPECT_EQ(good.report["bytes"], 10 * (5 + 4096 + 200'000 + 3'000'000));

  const Outcome bad = Bench(flags + verify("something else"));
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_EQ(bad.report["requests"], 40);
  EXPECT_EQ(bad.report["errors"], (json{{"verify", 10}}));
  EXPECT_THAT(bad.err, HasSubstr(fmt::format("fetch \"/{}\": SHA-256 is ", name)));
}

TEST_P(GetfileBenchWayTest, AMissingFileIsAnErrorOfStatus) {
  const std::string workload = files_.Write("missing", "/of/5 /missing /of/0");
  const Outcome run = Bench(GetParam().flags() + Flags{"-c", "2", "-r", "30", "-w", workload});
  EXPECT_EQ(run.exit_code, 1);
  ExpectConsistent(run.report);
  EXPECT_EQ(run.report["requests"], 20);
  EXPECT_EQ(run.report["bytes"], 50);
  EXPECT_EQ(run.report["errors"], (json{{"status", 10}}));
  EXPECT_THAT(run.err, HasSubstr("fetch \"/missing\": status "));
  EXPECT_THAT(run.err, HasSubstr("(errors of kind status: 10)"));
}

TEST_P(GetfileBenchWayTest, AServerThatIsNotThereIsAnErrorOfConnecting) {
  const LoopbackLease lease(1);
  const Outcome run =
      getfile::Bench(lease.address(0), 10880,
                     GetParam().flags() + Workload() + Flags{"-t", "2", "-c", "4", "-r", "12"});
  EXPECT_EQ(run.exit_code, 1);
  ExpectConsistent(run.report);
  EXPECT_EQ(run.report["requests"], 0);
  EXPECT_EQ(run.report["errors"], (json{{"connect", 12}}));
  EXPECT_THAT(run.err,
              HasSubstr(fmt::format("connect {}:10880: Connection refused", lease.address(0))));
}

TEST_P(GetfileBenchWayTest, AnOpenLoopWithoutAServerEndsInTime) {
  const LoopbackLease lease(1);
  const Outcome run = getfile::Bench(
      lease.address(0), 10880,
      GetParam().flags() + Workload() + Flags{"-c", "2", "-d", "0.3", "--rate", "100000"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(run.report["requests"], 0);
  EXPECT_GT(run.report["errors"]["connect"], 0);
  // No more than the pauses between attempts permit: 10 ms, then twice as long each time.
  EXPECT_LT(run.report["errors"]["connect"], 60);
}

INSTANTIATE_TEST_SUITE_P(Ways, GetfileBenchWayTest, ::testing::ValuesIn(kWays),
                         [](const auto& param_info) {
                           return std::string(param_info.param.protocol) +
                                  (param_info.param.keep_alive ? "_keep_alive" : "");
                         });

TEST_F(GetfileBenchTest, RequestsGoThroughThePathsInTurn) {
  const std::string log = files_.path("access.log");
  {
    GetfileServer logging({"--root", served_->root.path(), "--access-log", log});
    const Outcome run = getfile::Bench(logging.host(), logging.port(),
                                       Workload() + Flags{"-t", "3", "-c", "3", "-r", "10"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
  }
  // Paths 0 and 1 three times, 2 and 3 twice, whichever thread asked for them.
  const std::string lines = files_.Read("access.log");
  std::vector<int> counts;
  for (const std::uint64_t size : kSizes) {
    const std::string request = fmt::format("\"GET /of/{} GETFILE\"", size);
    int count = 0;
    for (std::size_t at = lines.find(request); at != std::string::npos;
         at = lines.find(request, at + 1)) {
      ++count;
    }
    counts.push_back(count);
  }
  EXPECT_THAT(counts, ::testing::ElementsAre(3, 3, 2, 2));
}

TEST_F(GetfileBenchTest, WarmUpIsNotCounted) {
  const double before = Answered("getfile");
  const Outcome run = Bench(
      Workload() + Flags{"--keep-alive", "-t", "2", "-c", "4", "-r", "40", "--warmup", "0.2"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectConsistent(run.report);
  EXPECT_EQ(run.report["requests"], 40);
  EXPECT_TRUE(Eventually(kDeadline, "the server has counted more",
                         [&] { return Answered("getfile") > before + 40; }));
}

TEST_F(GetfileBenchTest, NamesAndIPv6AddressesAreServers) {
  for (const char* host : {"localhost", "::1", "127.0.0.1"}) {
    if (std::string_view(host) == "::1" && !testing::MachineHasIpv6()) continue;
    for (const char* protocol : {"getfile", "http"}) {
      const Outcome run = getfile::Bench(
          host, server().port(), Workload() + Flags{"-r", "8", "-c", "8", "--protocol", protocol});
      EXPECT_EQ(run.exit_code, 0) << host << ": " << run.err;
      EXPECT_EQ(run.report["requests"], 8);
    }
  }
}

TEST_F(GetfileBenchTest, TheTableIsForPeople) {
  const ToolResult result = RunTool("getfile-bench", Flags{"-p", Port(), "-r", "20"} + Workload());
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("requests  20  "));
  EXPECT_THAT(result.out, HasSubstr("p99.99 "));
  EXPECT_THAT(result.out, HasSubstr("errors    0\n"));
  EXPECT_THAT(result.err, IsEmpty());
}

TEST_F(GetfileBenchTest, ATerminalGetsALineASecond) {
  const std::string command =
      fmt::format("$DS_BIN_DIR/getfile-bench -p {} -t 2 -c 2 -d 1.5 -w {} --keep-alive", Port(),
                  served_->workload);
  const ToolResult result = RunTool("script", {"-qec", command, "/dev/null"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out,
              ::testing::ContainsRegex(" s  [0-9]+ req/s  [0-9.]+ [MG]B/s  p50 .* p99"));
  EXPECT_THAT(result.out, HasSubstr("requests  "));
  EXPECT_THAT(result.out, HasSubstr("errors    0"));
}

TEST_F(GetfileBenchTest, CtrlCEndsEarlyWithAReport) {
  for (const Flags& flags : {Flags{}, Flags{"--rate", "1000"}, Flags{"-t", "2"}}) {
    const double before = Answered("getfile");
    ToolProcess bench("getfile-bench",
                      Flags{"-p", Port(), "--json", "-c", "4", "-d", "600"} + flags + Workload());
    ASSERT_TRUE(bench.Start().ok());
    ASSERT_TRUE(
        Eventually(kDeadline, "there is load", [&] { return Answered("getfile") > before + 10; }));
    bench.Signal(SIGINT);
    const Outcome run = ToOutcome(bench.Wait());
    EXPECT_EQ(run.exit_code, 130);
    ExpectConsistent(run.report);
    EXPECT_GE(run.report["requests"], 10);
    EXPECT_THAT(run.report["errors"], IsEmpty());
  }
}

TEST_F(GetfileBenchTest, CtrlCDuringTheWarmUpReportsNothing) {
  const double before = Answered("getfile");
  ToolProcess bench("getfile-bench", Flags{"-p", Port(), "--json", "--warmup", "600"} + Workload());
  ASSERT_TRUE(bench.Start().ok());
  ASSERT_TRUE(
      Eventually(kDeadline, "there is load", [&] { return Answered("getfile") > before + 10; }));
  bench.Signal(SIGINT);
  const Outcome run = ToOutcome(bench.Wait());
  EXPECT_EQ(run.exit_code, 130);
  ExpectConsistent(run.report);
  EXPECT_EQ(run.report["requests"], 0);
}

TEST_F(GetfileBenchTest, WrongUsageIsRefusedBeforeAnythingIsDone) {
  const std::string empty = files_.Write("empty", " \n");
  const std::string relative = files_.Write("relative", "/good not/absolute");
  const std::string other_sums =
      files_.Write("other_sums", served_->files.Read("sums").substr(0, 70));
  const std::string bad_sums = files_.Write("bad_sums", "no digest\n");
  const Flags workload = Workload();
  for (const Flags& flags : {
           Flags{},
           Flags{"-w", files_.path("missing")},
           Flags{"-w", empty},
           Flags{"-w", relative},
           workload + Flags{"-t", "0"},
           workload + Flags{"-c", "0"},
           workload + Flags{"-t", "3", "-c", "2"},
           workload + Flags{"-d", "0"},
           workload + Flags{"-d", "-1"},
           workload + Flags{"-d", "nan"},
           workload + Flags{"-r", "0"},
           workload + Flags{"-r", "5", "-d", "1"},
           workload + Flags{"--rate", "0"},
           workload + Flags{"--rate", "1000000001"},
           workload + Flags{"--timeout", "0"},
           workload + Flags{"--warmup", "-1"},
           workload + Flags{"--protocol", "ftp"},
           workload + Flags{"--protocol", "1"},
           workload + Flags{"--verify", files_.path("missing")},
           workload + Flags{"--verify", other_sums},
           workload + Flags{"--verify", bad_sums},
           workload + Flags{"-p", "65536"},
           workload + Flags{"--no-such-option"},
           workload + Flags{"positional"},
       }) {
    const ToolResult result = RunTool("getfile-bench", flags);
    EXPECT_EQ(result.exit_code, 2) << ::testing::PrintToString(flags);
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err, ::testing::StartsWith("getfile-bench: "));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
  EXPECT_EQ(RunTool("getfile-bench", {"--help"}).exit_code, 0);
  EXPECT_EQ(RunTool("getfile-bench", {"--version"}).exit_code, 0);
}

TEST_F(GetfileBenchTest, AHostWithoutAnAddressIsAFailure) {
  const Outcome run = getfile::Bench("no..host", 1, Workload());
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.err, HasSubstr("resolve \"no..host\""));
}

// --- Servers that misbehave ---

/// Accepts one connection after the other and answers each request as it is told.
class ScriptedServer {
 public:
  struct Answer {
    std::string bytes;
    bool close = false;  ///< after these bytes; else waits for the next request, or the peer's end
    bool in_single_bytes = false;
  };
  /// Gets the head of the request, and how many were answered before on this connection.
  using Script = std::function<Answer(const std::string& request, int before)>;

  explicit ScriptedServer(Script script)
      : script_(std::move(script)), stop_(::eventfd(0, EFD_CLOEXEC)) {
    const auto endpoints = net::Endpoint::Resolve({"127.0.0.1", 0});
    CHECK(endpoints.ok() && stop_);
    auto listener = net::ListenTcp(endpoints->front());
    CHECK(listener.ok());
    listener_ = std::move(listener).value();
    thread_ = std::jthread([this] { Serve(); });
  }
  ~ScriptedServer() {
    const std::uint64_t one = 1;
    CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
  }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  std::uint16_t port() const { return listener_.local.port(); }

 private:
  bool WaitForInput(int fd) const {
    return net::WaitFor(fd, POLLIN, Duration::zero(), stop_.get()).ok();
  }

  void Serve() {
    while (WaitForInput(listener_.socket.get())) {
      const UniqueFd peer(::accept4(listener_.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (peer) Serve(peer.get());
    }
  }

  void Serve(int peer) {
    std::string request;
    for (int before = 0;;) {
      char buffer[4096];
      if (!WaitForInput(peer)) return;
      const ssize_t n = ::recv(peer, buffer, sizeof buffer, 0);
      if (n <= 0) return;
      request.append(buffer, static_cast<std::size_t>(n));
      if (!request.ends_with("\r\n\r\n")) continue;
      const Answer answer = script_(std::exchange(request, {}), before++);
      const std::size_t piece = answer.in_single_bytes ? 1 : answer.bytes.size();
      for (std::size_t at = 0; at < answer.bytes.size(); at += piece) {
        if (::send(peer, answer.bytes.data() + at, piece, MSG_NOSIGNAL) < 0) return;
      }
      if (answer.close) return;
    }
  }

  const Script script_;
  const UniqueFd stop_;
  net::Listener listener_;
  std::jthread thread_;
};

/// One connection, ten requests of one path.
Outcome BenchScript(const ScriptedServer::Script& script, const Way& way, const Flags& flags = {}) {
  const TempDir files;
  ScriptedServer server(script);
  return getfile::Bench(
      "127.0.0.1", server.port(),
      way.flags() + Flags{"-r", "10", "-w", files.Write("workload", "/path")} + flags);
}

constexpr Way kGetfile = {"getfile", false};
constexpr Way kGetfileKeepAlive = {"getfile", true};
constexpr Way kHttp = {"http", false};
constexpr Way kHttpKeepAlive = {"http", true};

std::string HttpOk(std::string_view body, std::string_view field = "") {
  return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{}\r\n{}", body.size(), field, body);
}

TEST(GetfileBenchErrorTest, WrongAnswersAreCountedByTheirKind) {
  struct Case {
    const char* what;
    Way way;
    std::string answer;
    const char* kind;
  };
  const std::string cut = HttpOk("12345").substr(0, HttpOk("12345").size() - 2);
  const std::vector<Case> cases = {
      {"closed without an answer", kGetfile, "", "closed"},
      {"closed in the head", kGetfile, "GETFILE OK", "closed"},
      {"closed in the body", kGetfile, "GETFILE OK 5\r\n\r\n123", "closed"},
      {"closed in a large body", kGetfile, "GETFILE OK 500000\r\n\r\n" + std::string(100'000, 'x'),
       "closed"},
      {"another protocol", kGetfile, HttpOk("x"), "malformed"},
      {"no length", kGetfile, "GETFILE OK\r\n\r\nx", "malformed"},
      {"ERROR", kGetfile, "GETFILE ERROR\r\n\r\n", "status"},
      {"INVALID", kGetfile, "GETFILE INVALID\r\n\r\n", "status"},
      {"too long", kGetfileKeepAlive, "GETFILE OK 5\r\n\r\n123456", "malformed"},
      {"closed without an answer", kHttp, "", "closed"},
      {"closed in the head", kHttp, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", "closed"},
      {"closed in the body", kHttp, cut, "closed"},
      {"another protocol", kHttp, "GETFILE OK 1\r\n\r\nx", "malformed"},
      {"no length", kHttp, "HTTP/1.1 200 OK\r\n\r\nx", "malformed"},
      {"chunked", kHttp, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       "malformed"},
      {"too long", kHttpKeepAlive, HttpOk("12345") + "6", "malformed"},
      {"redirect", kHttp, "HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", "status"},
      {"busy", kHttpKeepAlive, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", "status"},
  };
  for (const Case& c : cases) {
    for (const Flags& loop : {Flags{}, Flags{"--rate", "1000000"}}) {
      const Outcome run =
          BenchScript([&](const auto&,
                          int) { return ScriptedServer::Answer{.bytes = c.answer, .close = true}; },
                      c.way, loop);
      EXPECT_EQ(run.exit_code, 1) << c.what;
      ExpectConsistent(run.report);
      EXPECT_EQ(run.report["requests"], 0) << c.what;
      EXPECT_EQ(run.report["errors"], (json{{c.kind, 10}})) << c.what << ": " << run.err;
    }
  }
}

TEST(GetfileBenchErrorTest, AnAnswerThatDoesNotComeIsATimeout) {
  for (const Way& way : kWays) {
    for (const char* bytes : {"", "GETFILE OK 5\r\n\r\n123"}) {
      if (*bytes != '\0' && std::string_view(way.protocol) == "http") continue;
      const Outcome run =
          BenchScript([&](const auto&, int) { return ScriptedServer::Answer{.bytes = bytes}; }, way,
                      {"--timeout", "0.02"});
      EXPECT_EQ(run.exit_code, 1);
      EXPECT_EQ(run.report["errors"], (json{{"timeout", 10}})) << run.err;
    }
  }
}

TEST(GetfileBenchErrorTest, AnswersAreReadInAnyPieces) {
  for (const Way& way : kWays) {
    const std::string answer = std::string_view(way.protocol) == "http"
                                   ? "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HttpOk("12345")
                                   : "GETFILE OK 5\r\n\r\n12345";
    const Outcome run = BenchScript(
        [&](const auto&, int) {
          return ScriptedServer::Answer{
              .bytes = answer, .close = !way.keep_alive, .in_single_bytes = true};
        },
        way);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(run.report["requests"], 10);
    EXPECT_EQ(run.report["bytes"], 50);
  }
}

TEST(GetfileBenchErrorTest, WithoutKeepAliveNothingBehindTheAnswerIsLookedAt) {
  for (const auto& [way, answer] :
       {std::pair(kGetfile, std::string("GETFILE OK 5\r\n\r\n12345678")),
        std::pair(kHttp, HttpOk("12345") + "678")}) {
    const Outcome run = BenchScript(
        [&, bytes = answer](const auto&, int) {
          return ScriptedServer::Answer{.bytes = bytes, .close = true};
        },
        way);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(run.report["bytes"], 50);
  }
}

TEST(GetfileBenchErrorTest, TheLegacyDialectIsUnderstood) {
  const Outcome run = BenchScript(
      [](const auto&, int) {
        return ScriptedServer::Answer{.bytes = "GETFILE OK 5 12345", .close = true};
      },
      kGetfile);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.report["bytes"], 50);
}

TEST(GetfileBenchErrorTest, AServerThatAnnouncesTheEndOfAConnectionIsFine) {
  const Outcome run = BenchScript(
      [](const std::string&, int before) {
        const bool last = before == 2;
        return ScriptedServer::Answer{.bytes = HttpOk("12345", last ? "Connection: close\r\n" : ""),
                                      .close = last};
      },
      kHttpKeepAlive);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.report["requests"], 10);
}

TEST(GetfileBenchErrorTest, AServerWithoutKeepAliveIsToldOfAndAskedWithoutIt) {
  const Outcome run = BenchScript(
      [](const std::string& request, int) {
        const bool asked = request.find("keep-alive") != std::string::npos;
        return ScriptedServer::Answer{
            .bytes = asked ? "GETFILE INVALID\r\n\r\n" : "GETFILE OK 5\r\n\r\n12345",
            .close = true};
      },
      kGetfileKeepAlive);
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(run.report["requests"], 9);
  EXPECT_EQ(run.report["errors"], (json{{"keep_alive", 1}}));
  EXPECT_THAT(run.err, HasSubstr("does not know keep-alive"));
}

TEST(GetfileBenchErrorTest, WhatIsAskedIsWhatTheProtocolSays) {
  const TempDir files;
  const std::string workload = files.Write("workload", "/a%b\xc3\xbc?c");
  for (const auto& [way, expected] : {
           std::pair(kGetfile, std::string("GETFILE GET /a%b\xc3\xbc?c\r\n\r\n")),
           std::pair(kGetfileKeepAlive,
                     std::string("GETFILE GET /a%b\xc3\xbc?c\r\nConnection: keep-alive\r\n\r\n")),
           std::pair(kHttp, std::string("GET /a%25b%C3%BC%3Fc HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n"
                                        "Connection: close\r\n\r\n")),
           std::pair(kHttpKeepAlive, std::string("GET /a%25b%C3%BC%3Fc HTTP/1.1\r\n"
                                                 "Host: 127.0.0.1:PORT\r\n\r\n")),
       }) {
    std::string asked;
    std::string port;
    {
      ScriptedServer server([&](const std::string& request, int) {
        asked = request;
        return ScriptedServer::Answer{.bytes = "", .close = true};
      });
      port = std::to_string(server.port());
      getfile::Bench("127.0.0.1", server.port(), way.flags() + Flags{"-r", "1", "-w", workload});
    }
    std::string wanted = expected;
    if (const auto at = wanted.find("PORT"); at != std::string::npos) wanted.replace(at, 4, port);
    EXPECT_EQ(asked, wanted);
  }
}

}  // namespace
}  // namespace ds::getfile
