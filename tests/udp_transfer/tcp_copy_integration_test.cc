#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "tests/harness/eventually.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/temp_dir.h"

namespace ds::udp_transfer {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using testing::kDeadline;
using testing::RunTool;
using testing::TempDir;
using testing::ToolProcess;
using testing::ToolResult;

/// A running `udp-bench tcp-receive`.
class Receiver {
 public:
  explicit Receiver(const std::vector<std::string>& options = {})
      : process_("udp-bench", Arguments(options)) {}

  absl::Status Start() {
    RETURN_IF_ERROR(process_.Start());
    const bool ready = static_cast<bool>(Eventually(kDeadline, "the ready line", [&] {
      return process_.out().find("READY udp-bench listen=") == 0 &&
             process_.out().find('\n') != std::string::npos;
    }));
    return ready ? absl::OkStatus() : Unavailable(process_.err());
  }

  std::string address() const {
    const std::string line = process_.out();
    const std::size_t begin = line.find('=') + 1;
    return line.substr(begin, line.find(' ', begin) - begin);
  }
  std::uint16_t port() const {
    return static_cast<std::uint16_t>(std::stoi(address().substr(address().find(':') + 1)));
  }
  const TempDir& folder() const { return folder_; }
  ToolProcess& process() { return process_; }

 private:
  std::vector<std::string> Arguments(const std::vector<std::string>& options) {
    std::filesystem::create_directory(folder_.path("files"));
    std::vector<std::string> all{"tcp-receive", "--listen", "127.0.0.1:0", "--dir",
                                 folder_.path("files")};
    all.insert(all.end(), options.begin(), options.end());
    return all;
  }

  TempDir folder_;
  ToolProcess process_;
};

std::string Content(std::size_t size) {
  std::string content(size, '\0');
  for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 31 + i / 251);
  return content;
}

TEST(TcpCopyTest, FilesArriveWholeAndTheResultSaysSo) {
  Receiver receiver;
  ASSERT_TRUE(receiver.Start().ok());
  const TempDir folder;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{3'000'000}}) {
    const std::string path = folder.Write("file", Content(size));
    const ToolResult result = RunTool("udp-bench", {"tcp-send", receiver.address(), path, "copy",
                                                    "--congestion", "cubic", "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(receiver.folder().Read("files/copy") == Content(size));
    const auto json = nlohmann::json::parse(result.out);
    EXPECT_EQ(json["bytes"], size);
    EXPECT_EQ(json["complete"], true);
    EXPECT_EQ(json["mode"], "tcp-cubic");
    EXPECT_GE(json["sent_bytes"], size);
  }
  ASSERT_TRUE(receiver.process().Signal(SIGTERM));
  EXPECT_EQ(receiver.process().Wait().exit_code, 0);
}

TEST(TcpCopyTest, ATimeLimitEndsATransferAndWhatWasAcknowledgedCounts) {
  Receiver receiver;
  ASSERT_TRUE(receiver.Start().ok());
  receiver.process().Pause();  // the kernel takes what fits into its buffers
  const TempDir folder;
  const std::string path = folder.Write("file", Content(40'000'000));
  const ToolResult result =
      RunTool("udp-bench", {"tcp-send", receiver.address(), path, "--time-limit", "0.3", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["complete"], false);
  EXPECT_LT(json["bytes"], 40'000'000);
  receiver.process().Resume();
  // The next one finds it well, and nothing of the last.
  const std::string small = folder.Write("small", "x");
  EXPECT_EQ(RunTool("udp-bench", {"tcp-send", receiver.address(), small}).exit_code, 0);
  EXPECT_FALSE(receiver.folder().Exists("files/file"));
}

TEST(TcpCopyTest, WhatIsNoFileOfOursIsNotTakenAndEndsNobody) {
  Receiver receiver;
  ASSERT_TRUE(receiver.Start().ok());
  using namespace std::string_view_literals;
  struct Header {
    std::string_view magic, name_length, name, rest;
  };
  const auto bytes_of = [](const Header& header) {  // of a file of one byte
    return fmt::format("{}{}{}{}{}", header.magic, header.name_length, "\0\0\0\0\0\0\0\1"sv,
                       header.name, header.rest);
  };
  const std::string_view magic = "DSTC\x01";
  const std::string_view file = "x................";  // and a wrong digest
  const std::string long_name(256, 'n');
  for (const std::string& bytes : std::vector<std::string>{
           "",
           "DSTC",
           "GET / HTTP/1.0\r\n\r\n",
           bytes_of({"DSTC\x02", "\0\1"sv, "n", file}),  // a later version
           bytes_of({magic, "\0\1"sv, "n", file}),
           bytes_of({magic, "\0\1"sv, "n", ""}),  // cut short
           bytes_of({magic, "\0\2"sv, "..", file}),
           bytes_of({magic, "\0\3"sv, "a/b", file}),
           bytes_of({magic, "\0\3"sv, "a\0b"sv, file}),
           bytes_of({magic, "\0\0"sv, "", file}),
           bytes_of({magic, "\1\0"sv, long_name, file}),
       }) {
    auto peer = testing::RawPeer::Connect("127.0.0.1", receiver.port());
    ASSERT_TRUE(peer.ok());
    peer->Send(bytes);  // it may close before it has read all
    peer->ShutdownWrite();
    EXPECT_EQ(peer->ReadToEnd().bytes, "");
  }
  EXPECT_TRUE(std::filesystem::is_empty(receiver.folder().path("files")));
  const TempDir folder;
  const std::string path = folder.Write("file", "x");
  EXPECT_EQ(RunTool("udp-bench", {"tcp-send", receiver.address(), path}).exit_code, 0);
}

TEST(TcpCopyTest, WhatCannotBeDoneIsSaidInOneLine) {
  const TempDir folder;
  const std::string path = folder.Write("file", "x");
  struct Case {
    std::vector<std::string> arguments;
    int exit_code;
    const char* text;
  };
  for (const Case& test : std::vector<Case>{
           {{}, 2, "subcommand"},
           {{"tcp-send", "127.0.0.1:1", folder.path("none")}, 1, "No such file"},
           {{"tcp-send", "127.0.0.1:1", path, "a/b"}, 2, "not a plain name"},
           {{"tcp-send", "127.0.0.1:1", folder.path()}, 2, "not a regular file"},
           {{"tcp-send", "127.0.0.1:1", path, "--congestion", "no-such"}, 2, "no-such"},
           {{"tcp-send", "127.0.0.1:1", path}, 1, "connect 127.0.0.1:1"},
           {{"tcp-receive", "--listen", "192.0.2.1:0"}, 2, "--allow-insecure"},
           {{"tcp-receive", "--listen", "nonsense"}, 2, "--listen"},
           {{"tcp-receive", "--listen", "127.0.0.1:0", "--dir", folder.path("none")},
            1,
            "No such file"},
       }) {
    const ToolResult result = RunTool("udp-bench", test.arguments);
    EXPECT_EQ(result.exit_code, test.exit_code) << result.err;
    EXPECT_THAT(result.err, HasSubstr(test.text));
    EXPECT_EQ(result.out, "");
  }
}

}  // namespace
}  // namespace ds::udp_transfer
