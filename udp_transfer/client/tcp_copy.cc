#include "udp_transfer/client/tcp_copy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "common/base/unique_fd.h"
#include "common/fs/atomic_file.h"
#include "common/net/endpoint.h"
#include "udp_transfer/core/transfer_name.h"
#include "udp_transfer/core/wire.h"

namespace ds::udp_transfer {
namespace {

constexpr std::string_view kMagic = "DSTC\x01";
constexpr std::size_t kHeaderBytes = kMagic.size() + 2 + 8;
constexpr std::size_t kDigestBytes = 16;
constexpr std::size_t kBlockBytes = 256U << 10U;
constexpr Duration kPatience = std::chrono::seconds(60);

TimePoint Now() { return std::chrono::steady_clock::now(); }

/// XXH3-128 of a stream.
class StreamDigest {
 public:
  StreamDigest() : state_(XXH3_createState()) {
    CHECK(state_ != nullptr && XXH3_128bits_reset(state_.get()) == XXH_OK);
  }
  void Update(const char* bytes, std::size_t count) {
    CHECK(XXH3_128bits_update(state_.get(), bytes, count) == XXH_OK);
  }
  std::string Value() const {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_.get()));
    return {reinterpret_cast<const char*>(canonical.digest), kDigestBytes};
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

/// A connected, non-blocking socket that is read and written as if it blocked, until a deadline.
class Stream {
 public:
  Stream(UniqueFd socket, int cancel_fd) : socket_(std::move(socket)), cancel_fd_(cancel_fd) {}

  int fd() const { return socket_.get(); }
  /// From here on kDeadlineExceeded at that time; else after kPatience without progress.
  void SetDeadline(TimePoint deadline) { deadline_ = deadline; }

  absl::Status Write(std::string_view bytes) {
    while (!bytes.empty()) {
      if (Now() >= deadline_) return DeadlineExceeded();
      const ssize_t n = ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n >= 0) {
        bytes.remove_prefix(static_cast<std::size_t>(n));
      } else {
        RETURN_IF_ERROR(WaitAfterError("send", POLLOUT));
      }
    }
    return absl::OkStatus();
  }

  /// At most `size` bytes, at least one; none at the end of the stream.
  absl::StatusOr<std::size_t> ReadSome(char* bytes, std::size_t size) {
    for (;;) {
      if (Now() >= deadline_) return DeadlineExceeded();
      const ssize_t n = ::recv(fd(), bytes, size, 0);
      if (n >= 0) return static_cast<std::size_t>(n);
      RETURN_IF_ERROR(WaitAfterError("receive", POLLIN));
    }
  }

  absl::StatusOr<std::string> ReadExactly(std::size_t size) {
    std::string bytes(size, '\0');
    for (std::size_t done = 0; done < size;) {
      ASSIGN_OR_RETURN(const std::size_t n, ReadSome(bytes.data() + done, size - done));
      if (n == 0) return Unavailable("receive: the peer has closed the connection");
      done += n;
    }
    return bytes;
  }

 private:
  static absl::Status DeadlineExceeded() {
    return Error(absl::StatusCode::kDeadlineExceeded, "transfer: the time limit is over");
  }
  absl::Status WaitAfterError(const char* what, short events) const {
    if (errno == EINTR) return absl::OkStatus();
    if (errno != EAGAIN && errno != EWOULDBLOCK) return ErrnoError(what, errno);
    const Duration left = std::max<Duration>(deadline_ - Now(), std::chrono::milliseconds(1));
    return net::WaitFor(fd(), events, std::min(kPatience, left), cancel_fd_);
  }

  const UniqueFd socket_;
  const int cancel_fd_;
  TimePoint deadline_ = TimePoint::max();
};

std::string LastPart(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

/// net::ConnectTcp() with a congestion control: it must be set before, since what one sets up for
/// the connection (BBR: pacing) stays when another follows.
absl::StatusOr<UniqueFd> Connect(const net::Endpoint& endpoint, const std::string& congestion,
                                 int cancel_fd) {
  const std::string what = fmt::format("connect {}", endpoint.ToString());
  UniqueFd socket(::socket(endpoint.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return ErrnoError(what, errno);
  if (!congestion.empty() &&
      ::setsockopt(socket.get(), IPPROTO_TCP, TCP_CONGESTION, congestion.data(),
                   static_cast<socklen_t>(congestion.size())) != 0) {
    return InvalidArgument(fmt::format("use the congestion control \"{}\": {}",
                                       EscapeBytes(congestion), ErrnoText(errno)));
  }
  if (::connect(socket.get(), endpoint.address(), endpoint.length()) != 0) {
    if (errno != EINPROGRESS) return ErrnoError(what, errno);
    RETURN_IF_ERROR(net::WaitFor(socket.get(), POLLOUT, kPatience, cancel_fd));
    if (const int error = net::TakeSocketError(socket.get()); error != 0) {
      return ErrnoError(what, error);
    }
  }
  return socket;
}

/// Sends `file` and waits for the answer.
absl::Status SendContent(int file, std::uint64_t size, const std::string& name, Stream* stream) {
  std::string header(kMagic);
  AppendBigEndian(&header, name.size(), 2);
  AppendBigEndian(&header, size, 8);
  RETURN_IF_ERROR(stream->Write(header + name));
  std::vector<char> block(kBlockBytes);
  StreamDigest digest;
  for (std::uint64_t done = 0; done < size;) {
    const ssize_t n = ::read(file, block.data(), block.size());
    if (n < 0) return ErrnoError("read the file", errno);
    if (n == 0) return Unavailable("read the file: it has become shorter");
    const std::uint64_t bytes = std::min(static_cast<std::uint64_t>(n), size - done);
    digest.Update(block.data(), bytes);
    RETURN_IF_ERROR(stream->Write({block.data(), bytes}));
    done += bytes;
  }
  RETURN_IF_ERROR(stream->Write(digest.Value()));
  ASSIGN_OR_RETURN(const std::string answer, stream->ReadExactly(1));
  if (answer[0] != 1) return Unavailable("send the file: an answer that is no answer");
  return absl::OkStatus();
}

/// A file from one connection, to its end.
absl::Status ReceiveFile(Stream* stream, int folder, bool sync) {
  ASSIGN_OR_RETURN(const std::string header, stream->ReadExactly(kHeaderBytes));
  std::string_view view = header;
  if (view.substr(0, kMagic.size()) != kMagic) return Unavailable("receive: not our protocol");
  view.remove_prefix(kMagic.size());
  const std::uint64_t name_bytes = TakeBigEndian(&view, 2);
  const std::uint64_t size = TakeBigEndian(&view, 8);
  if (name_bytes > kNameComponentBytesMax) return Unavailable("receive: the name is too long");
  ASSIGN_OR_RETURN(const std::string name, stream->ReadExactly(name_bytes));
  if (!CheckClassicName(name).ok()) {
    return Unavailable(fmt::format("receive \"{}\": not a plain name", EscapeBytes(name)));
  }
  ASSIGN_OR_RETURN(fs::AtomicFile file, fs::AtomicFile::Create(folder, name));
  std::vector<char> block(kBlockBytes);
  StreamDigest digest;
  for (std::uint64_t done = 0; done < size;) {
    const std::size_t wanted = std::min<std::uint64_t>(block.size(), size - done);
    ASSIGN_OR_RETURN(const std::size_t n, stream->ReadSome(block.data(), wanted));
    if (n == 0) return Unavailable(fmt::format("receive \"{}\": cut short", EscapeBytes(name)));
    digest.Update(block.data(), n);
    RETURN_IF_ERROR(file.Write({block.data(), n}));
    done += n;
  }
  ASSIGN_OR_RETURN(const std::string expected, stream->ReadExactly(kDigestBytes));
  if (digest.Value() != expected) {
    return Unavailable(fmt::format("receive \"{}\": the digest differs", EscapeBytes(name)));
  }
  RETURN_IF_ERROR(file.Commit(sync ? fs::AtomicFile::Durability::kSynced
                                   : fs::AtomicFile::Durability::kCached));
  return stream->Write(std::string_view("\x01", 1));
}

}  // namespace

std::string TcpSendResult::ToJson() const {
  const double seconds = ToSeconds(time);
  nlohmann::ordered_json json;
  json["bytes"] = bytes;
  json["seconds"] = seconds;
  json["mbit_per_s"] = seconds > 0 ? 8e-6 * static_cast<double>(bytes) / seconds : 0;
  json["sent_bytes"] = sent_bytes;
  json["retransmitted_bytes"] = retransmitted_bytes;
  json["resumed_bytes"] = 0;
  json["mode"] = "tcp-" + congestion;
  json["rtt_ms"] = rtt_ms;
  json["complete"] = complete;
  return json.dump();
}

absl::StatusOr<TcpSendResult> SendFileOverTcp(const TcpSendOptions& options, int cancel_fd) {
  const std::string name = options.name.empty() ? LastPart(options.path) : options.name;
  if (!CheckClassicName(name).ok()) {
    return InvalidArgument(fmt::format("send as \"{}\": not a plain name", EscapeBytes(name)));
  }
  ASSIGN_OR_RETURN(const net::HostPort host_port, net::HostPort::Parse(options.server));
  ASSIGN_OR_RETURN(const auto endpoints, net::Endpoint::Resolve(host_port));
  const UniqueFd file(::open(options.path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) {
    return ErrnoError(fmt::format("open \"{}\"", options.path), errno);
  }
  if (!S_ISREG(status.st_mode)) {
    return InvalidArgument(fmt::format("send \"{}\": not a regular file", options.path));
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);

  const TimePoint begin = Now();
  ASSIGN_OR_RETURN(UniqueFd socket, Connect(endpoints.front(), options.congestion, cancel_fd));
  Stream stream(std::move(socket), cancel_fd);
  if (options.time_limit_s > 0) stream.SetDeadline(begin + FromSeconds(options.time_limit_s));

  const absl::Status sent = SendContent(file.get(), size, name, &stream);
  TcpSendResult result;
  result.time = Now() - begin;
  result.complete = sent.ok();
  const bool time_is_over =
      options.time_limit_s > 0 && absl::IsDeadlineExceeded(sent) && !result.complete;
  if (!sent.ok() && !time_is_over) return sent;

  tcp_info info{};
  socklen_t length = sizeof info;
  std::array<char, 32> congestion{};
  socklen_t congestion_length = congestion.size() - 1;
  if (::getsockopt(stream.fd(), IPPROTO_TCP, TCP_INFO, &info, &length) != 0 ||
      ::getsockopt(stream.fd(), IPPROTO_TCP, TCP_CONGESTION, congestion.data(),
                   &congestion_length) != 0) {
    return ErrnoError("ask the kernel about the connection", errno);
  }
  const std::uint64_t around = kHeaderBytes + name.size();
  result.bytes =
      result.complete
          ? size
          : std::min(size, info.tcpi_bytes_acked > around
                               ? static_cast<std::uint64_t>(info.tcpi_bytes_acked) - around
                               : 0);
  result.sent_bytes = info.tcpi_bytes_sent;
  result.retransmitted_bytes = info.tcpi_bytes_retrans;
  result.rtt_ms = info.tcpi_rtt / 1000.0;
  result.congestion = congestion.data();
  if (!result.complete) {
    // Nothing of it is wanted any more: what is queued is not sent after the end.
    const linger at_once{1, 0};
    ::setsockopt(stream.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  return result;
}

absl::StatusOr<FileListener> ListenForFiles(const TcpReceiveOptions& options) {
  const auto resolve = [&]() -> absl::StatusOr<std::vector<net::Endpoint>> {
    ASSIGN_OR_RETURN(const net::HostPort host_port, net::HostPort::Parse(options.listen));
    return net::Endpoint::Resolve(host_port);
  };
  const auto endpoints = resolve();
  if (!endpoints.ok()) {
    return InvalidArgument(
        fmt::format("--listen {}: {}", EscapeBytes(options.listen), Message(endpoints.status())));
  }
  const net::Endpoint& endpoint = endpoints->front();
  if (!endpoint.IsLoopback() && !options.allow_insecure) {
    return InvalidArgument(
        fmt::format("--listen {}: refused: not a loopback address, and nothing encrypts or "
                    "authenticates what is sent (see --allow-insecure)",
                    options.listen));
  }
  UniqueFd folder(::open(options.folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return ErrnoError(fmt::format("open \"{}\"", options.folder), errno);
  ASSIGN_OR_RETURN(net::Listener listener, net::ListenTcp(endpoint));
  return FileListener{std::move(listener), std::move(folder)};
}

absl::Status ReceiveFilesOverTcp(const FileListener& files, bool sync, int cancel_fd) {
  const int listener = files.listener.socket.get();
  for (;;) {
    const absl::Status waited = net::WaitFor(listener, POLLIN, Duration::zero(), cancel_fd);
    if (absl::IsCancelled(waited)) return absl::OkStatus();
    RETURN_IF_ERROR(waited);
    UniqueFd socket(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) continue;
    Stream stream(std::move(socket), cancel_fd);
    const absl::Status received = ReceiveFile(&stream, files.folder.get(), sync);
    if (!received.ok()) {
      std::fprintf(stderr, "udp-bench: %s\n", Message(received).c_str());
    }
  }
}

}  // namespace ds::udp_transfer
