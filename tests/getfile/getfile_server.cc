#include "tests/getfile/getfile_server.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/base/check.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "tests/harness/eventually.h"
#include "tests/harness/proc.h"

namespace ds::testing {

void PrintTo(const RawPeer::Received& received, std::ostream* out) {
  constexpr const char* kEnds[] = {"closed", "reset", "timeout", "open"};
  *out << getfile::Abbreviate(received.bytes) << ", " << kEnds[static_cast<int>(received.end)];
}

void PrintTo(const ToolResult& result, std::ostream* out) {
  *out << "exit code " << result.exit_code << ", stdout " << getfile::Abbreviate(result.out)
       << ", stderr " << getfile::Abbreviate(result.err);
}

}  // namespace ds::testing

namespace ds::getfile {
namespace {

DaemonProcess::Options Complete(std::vector<std::string> flags, DaemonProcess::Options process) {
  for (const char* flag : {"-p", "0", "-t", "2"}) flags.emplace_back(flag);
  process.program = "getfile-server";
  process.arguments = std::move(flags);
  return process;
}

std::uint64_t ParseHex(std::string_view digits) {
  std::uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  return value;
}

}  // namespace

std::string Get(std::string_view path) { return fmt::format("GETFILE GET {}\r\n\r\n", path); }

std::string GetKeepAlive(std::string_view path) {
  return fmt::format("GETFILE GET {}\r\nConnection: keep-alive\r\n\r\n", path);
}

std::string Ok(std::string_view body) {
  return fmt::format("GETFILE OK {}\r\n\r\n{}", body.size(), body);
}

std::string Content(std::size_t size, unsigned seed) {
  std::string bytes(size, '\0');
  std::uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;  // xorshift64
  for (std::size_t i = 0; i < size; ++i) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    bytes[i] = static_cast<char>(state >> 32U);
  }
  return bytes;
}

std::string Abbreviate(std::string_view bytes) {
  return fmt::format("{} bytes: {}", bytes.size(),
                     ::testing::PrintToString(std::string(bytes.substr(0, 300))));
}

GetfileServer::GetfileServer(std::vector<std::string> flags, DaemonProcess::Options process)
    : process_(Complete(std::move(flags), std::move(process))) {
  const absl::Status ready = process_.StartAndWaitReady();
  CHECK(ready.ok(), Message(ready));
}

RawPeer GetfileServer::Connect(const RawPeer::ConnectOptions& options) const {
  auto peer = RawPeer::Connect(host(), port(), options);
  CHECK(peer.ok(), Message(peer.status()));
  return std::move(peer).value();
}

RawPeer::Received GetfileServer::Exchange(std::string_view request) const {
  return RawPeer::Exchange(host(), port(), request);
}

std::string GetfileServer::MetricsPage() const {
  const auto address = net::HostPort::Parse(process_.Key("metrics"));
  CHECK(address.ok(), Message(address.status()));
  return RawPeer::Exchange(address->host, address->port, "GET /metrics HTTP/1.0\r\n\r\n").bytes;
}

double GetfileServer::Metric(const std::string& series) const {
  return FindMetric(MetricsPage(), series);
}

::testing::AssertionResult GetfileServer::WaitUntilRead(const RawPeer& peer) const {
  const std::uint16_t peer_port = peer.local_port();
  return testing::Eventually(kDeadline, "the server has read what was sent", [&] {
    if (net::UnacknowledgedBytes(peer.fd()) > 0) return false;  // still on its way
    const auto sockets = TcpSocketsAt(port());
    return std::none_of(sockets.begin(), sockets.end(), [&](const TcpSocket& socket) {
      return socket.remote_port == peer_port && socket.unread > 0;
    });
  });
}

::testing::AssertionResult GetfileServer::Counts(const std::string& series, double value) const {
  return testing::Eventually(kDeadline, fmt::format("{} is {}", series, value),
                             [&] { return Metric(series) == value; });
}

double FindMetric(const std::string& text, const std::string& series) {
  const std::size_t at = text.rfind(series + " ");
  if (at == std::string::npos) return -1;
  return std::strtod(text.c_str() + at + series.size(), nullptr);
}

std::vector<TcpSocket> TcpSocketsAt(std::uint16_t local_port) {
  std::vector<TcpSocket> sockets;
  std::ifstream table("/proc/net/tcp");
  std::string line;
  std::getline(table, line);  // the heading
  while (std::getline(table, line)) {
    // "  12: 0100007F:2A80 0100007F:C350 01 00000000:00000000 …": addresses with ports, the state,
    // and what waits to be acknowledged and to be read.
    const std::size_t begin = line.find(": ") + 2;
    if (begin < 2 || line.size() < begin + 48) continue;
    const std::string_view entry = std::string_view(line).substr(begin);
    constexpr std::string_view kListening = "0A";
    constexpr std::string_view kSynReceived = "03";
    const std::string_view state = entry.substr(28, 2);
    if (ParseHex(entry.substr(9, 4)) != local_port || state == kListening) continue;
    const std::uint64_t host = ParseHex(entry.substr(0, 8));  // its first byte is the lowest one
    sockets.push_back({.local_host = fmt::format("{}.{}.{}.{}", host & 0xff, host >> 8U & 0xff,
                                                 host >> 16U & 0xff, host >> 24U),
                       .remote_port = static_cast<std::uint16_t>(ParseHex(entry.substr(23, 4))),
                       .held_back = state == kSynReceived,
                       .unacknowledged = ParseHex(entry.substr(31, 8)),
                       .unread = ParseHex(entry.substr(40, 8))});
  }
  return sockets;
}

std::optional<int> SocketOptionOfPeer(pid_t pid, const RawPeer& peer, int level, int option) {
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  for (const std::string& path : testing::ListFolder(fmt::format("/proc/{}/fd", pid))) {
    const int number = std::stoi(path.substr(path.rfind('/') + 1));
    const UniqueFd socket(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
    sockaddr_in address{};
    socklen_t length = sizeof address;
    if (::getpeername(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
        address.sin_family != AF_INET || ntohs(address.sin_port) != peer.local_port()) {
      continue;
    }
    int value = 0;
    length = sizeof value;
    if (::getsockopt(socket.get(), level, option, &value, &length) == 0) return value;
  }
  return std::nullopt;
}

DescriptorLimit::DescriptorLimit(pid_t pid, rlim_t limit) : pid_(pid) {
  CHECK(::prlimit(pid_, RLIMIT_NOFILE, nullptr, &before_) == 0);
  const rlimit changed{limit, before_.rlim_max};
  CHECK(::prlimit(pid_, RLIMIT_NOFILE, &changed, nullptr) == 0);
}

DescriptorLimit::~DescriptorLimit() {
  // Fails if the process has ended, and then it does not matter.
  ::prlimit(pid_, RLIMIT_NOFILE, &before_, nullptr);
}

std::vector<std::string> FilesBelow(const std::string& folder) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_directory() || entry.is_symlink()) {
      files.push_back(entry.path().lexically_relative(folder).string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace ds::getfile
