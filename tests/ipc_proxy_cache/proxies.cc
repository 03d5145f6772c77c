#include "tests/ipc_proxy_cache/proxies.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>

#include "common/base/check.h"
#include "common/base/status.h"
#include "common/net/endpoint.h"
#include "tests/harness/eventually.h"
#include "tests/harness/proc.h"

namespace ds::ipc_proxy_cache {
namespace {

using testing::RawPeer;

std::unique_ptr<DaemonProcess> Started(const std::string& program, std::vector<std::string> flags) {
  flags.insert(flags.end(), {"--metrics", "127.0.0.1:0"});
  auto process = std::make_unique<DaemonProcess>(DaemonProcess::Options{program, std::move(flags)});
  const absl::Status ready = process->StartAndWaitReady();
  CHECK(ready.ok(), Message(ready));
  return process;
}

RawPeer Connect(const DaemonProcess& proxy, int receive_buffer_bytes) {
  auto peer =
      RawPeer::Connect(proxy.host(), proxy.port(), {.receive_buffer_bytes = receive_buffer_bytes});
  CHECK(peer.ok(), Message(peer.status()));
  return std::move(peer).value();
}

}  // namespace

std::unique_ptr<DaemonProcess> Machine::Cache(std::vector<std::string> flags) const {
  flags.insert(flags.end(), {"--socket", socket()});
  return Started("getfile-cached", std::move(flags));
}

std::unique_ptr<DaemonProcess> Machine::Proxy(const std::string& origin,
                                              std::vector<std::string> flags,
                                              const std::string& program) const {
  flags.insert(flags.end(), {"-s", origin, "-p", "0", "--cache-socket", socket()});
  if (std::ranges::find(flags, "-t") == flags.end()) flags.insert(flags.end(), {"-t", "2"});
  return Started(program, std::move(flags));
}

std::unique_ptr<DaemonProcess> Machine::LinkedProxy(const std::string& origin,
                                                    std::vector<std::string> flags) const {
  const auto threads = std::ranges::find(flags, "-t");
  const int workers = threads == flags.end() ? 2 : std::stoi(*std::next(threads));
  auto proxy = Proxy(origin, std::move(flags));
  AwaitLinks(*proxy, workers);
  return proxy;
}

testing::ToolResult Machine::Ctl(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), {"--socket", socket()});
  return testing::RunTool("getfile-cachectl", arguments);
}

nlohmann::json Machine::Status() const {
  return nlohmann::json::parse(Ctl({"status", "--json"}).out, nullptr, false);
}

void AwaitLinks(const DaemonProcess& proxy, int workers) {
  EXPECT_TRUE(testing::Eventually(testing::kDeadline, "every worker has the cache",
                                  [&] { return Metric(proxy, "getfile_proxy_links") == workers; }));
}

void AwaitLog(const DaemonProcess& daemon, std::string_view text) {
  EXPECT_TRUE(testing::Eventually(testing::kDeadline, fmt::format("the log has '{}'", text), [&] {
    return daemon.stderr_text().find(text) != std::string::npos;
  }));
}

void AwaitFills(const DaemonProcess& cache) {
  EXPECT_TRUE(testing::Eventually(testing::kDeadline, "no fill is under way",
                                  [&] { return Metric(cache, "getfile_cached_fills") == 0; }));
}

std::optional<std::uint64_t> BytesWritten(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/io", pid));
  for (std::string name; file >> name;) {
    std::uint64_t bytes = 0;
    if (file >> bytes && name == "wchar:") return bytes;
  }
  return std::nullopt;
}

double Metric(const DaemonProcess& daemon, const std::string& series) {
  const auto address = net::HostPort::Parse(daemon.Key("metrics"));
  CHECK(address.ok(), Message(address.status()));
  const auto page =
      RawPeer::Exchange(address->host, address->port, "GET /metrics HTTP/1.0\r\n\r\n");
  return getfile::FindMetric(page.bytes, series);
}

double Served(const DaemonProcess& proxy, const std::string& label) {
  return Metric(proxy, fmt::format("getfile_proxy_served_total{{cache=\"{}\"}}", label));
}

double OriginFetches(const DaemonProcess& proxy) {
  return Metric(proxy, "getfile_proxy_origin_fetches_total");
}

RawPeer::Received Getfile(const DaemonProcess& proxy, std::string_view path) {
  return RawPeer::Exchange(proxy.host(), proxy.port(), getfile::Get(path));
}

HttpReply Http(const DaemonProcess& proxy, std::string_view path, std::string_view fields) {
  const auto received = RawPeer::Exchange(
      proxy.host(), proxy.port(),
      fmt::format("GET {} HTTP/1.1\r\nHost: h\r\n{}Connection: close\r\n\r\n", path, fields));
  const auto replies = getfile::ReadReplies(received.bytes);
  return replies.size() == 1 ? replies[0] : HttpReply{0, {}, {}, received.bytes};
}

std::string HttpOk(std::string_view body, std::string_view fields) {
  return fmt::format("HTTP/1.1 200 OK\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n{}",
                     fields, body.size(), body);
}

std::string Url(const testing::FakeServer& origin) {
  return fmt::format("127.0.0.1:{}", origin.port());
}

testing::FakeServer::Script InTwoParts(std::string answer, std::shared_future<void> go_on) {
  return [answer = std::move(answer),
          go_on = std::move(go_on)](testing::FakeServer::Conversation& conversation) {
    conversation.ReadRequest();
    conversation.Send(answer.substr(0, kFirstPartBytes));
    go_on.wait();
    conversation.Send(answer.substr(kFirstPartBytes));
  };
}

Download Download::Begun(const DaemonProcess& proxy, std::string_view path,
                         std::size_t body_bytes) {
  Download download(proxy, path);
  EXPECT_TRUE(download.ReadTo(body_bytes)) << path;
  return download;
}

Download::Download(const DaemonProcess& proxy, std::string_view path, Protocol protocol,
                   int receive_buffer_bytes)
    : peer_(Connect(proxy, receive_buffer_bytes)) {
  CHECK(
      peer_.Send(protocol == Protocol::kHttp
                     ? fmt::format("GET {} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", path)
                     : getfile::Get(path)));
}

bool Download::ReadTo(std::size_t n) {
  while (end_ == RawPeer::End::kOpen && (head().empty() || body().size() < n)) {
    const RawPeer::Received more = peer_.Read(head().empty() ? 1 : n - body().size());
    received_ += more.bytes;
    end_ = more.end;
  }
  return !head().empty() && body().size() >= n;
}

bool Download::Finish(Duration deadline) {
  const RawPeer::Received rest = peer_.ReadToEnd(deadline);
  received_ += rest.bytes;
  end_ = rest.end;
  return end_ == RawPeer::End::kClosed && length() && *length() == body().size();
}

std::string_view Download::head() const {
  const std::size_t end = received_.find("\r\n\r\n");
  return end == std::string::npos ? std::string_view()
                                  : std::string_view(received_).substr(0, end + 4);
}

std::string_view Download::body() const {
  return std::string_view(received_).substr(head().empty() ? received_.size() : head().size());
}

std::string Download::Field(std::string_view name) const {
  const std::string line = fmt::format("\r\n{}: ", name);
  const std::size_t at = head().find(line);
  if (at == std::string_view::npos) return "<none>";
  const std::string_view rest = head().substr(at + line.size());
  return std::string(rest.substr(0, rest.find('\r')));
}

std::optional<std::size_t> Download::length() const {
  std::string text;
  constexpr std::string_view kGetfileOk = "GETFILE OK ";
  if (head().starts_with(kGetfileOk)) {
    text = head().substr(kGetfileOk.size());
  } else if (head().starts_with("HTTP/1.1 200 ")) {
    text = Field("Content-Length");
  }
  std::size_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) {
    return std::nullopt;
  }
  return value;
}

std::size_t MemfdsOf(pid_t pid) {
  std::size_t count = 0;
  for (const std::string& path : testing::ListFolder(fmt::format("/proc/{}/fd", pid))) {
    std::array<char, 256> target{};
    if (::readlink(path.c_str(), target.data(), target.size() - 1) > 0 &&
        std::string_view(target.data()).starts_with("/memfd:")) {
      ++count;
    }
  }
  return count;
}

}  // namespace ds::ipc_proxy_cache
