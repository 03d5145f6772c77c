#include "getfile/client/fetcher.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/net/socket.h"

namespace ds::getfile {
namespace {

constexpr std::size_t kBufferBytes = 256U << 10U;

}  // namespace

Fetcher::Fetcher(Options options, const DownloadFolder* folder, FetchProgress progress)
    : options_(std::move(options)),
      folder_(folder),
      progress_(std::move(progress)),
      buffer_(kBufferBytes, '\0') {}

FetchResult Fetcher::Fetch(const std::string& path) {
  for (;;) {
    const bool reused = static_cast<bool>(socket_);
    bool answered = false;
    FetchResult result = FetchOnce(path, &answered);
    if (options_.keep_alive && result.status == AnswerStatus::kInvalid) {
      // A server that does not know the extension; the path itself may well be fine.
      options_.keep_alive = false;
      socket_.Reset();
      continue;
    }
    const bool keep =
        options_.keep_alive && result.status.has_value() && result.received == result.length;
    if (!keep) socket_.Reset();
    // The server may have closed the idle connection while the request was on its way, or sent more
    // than the length it gave before. A GET can be repeated.
    const bool closed = !answered && result.error.code() == absl::StatusCode::kUnavailable;
    const bool surplus = !result.status && result.error.code() == absl::StatusCode::kDataLoss;
    const bool stale = reused && (closed || surplus);
    if (!stale) return result;
  }
}

FetchResult Fetcher::FetchOnce(const std::string& path, bool* answered) {
  FetchResult result;
  if (!socket_) {
    auto connected = net::ConnectTcp(options_.endpoints, options_.timeout, options_.cancel_fd);
    if (!connected.ok()) {
      result.error = connected.status();
      return result;
    }
    socket_ = std::move(connected).value();
  }
  if (result.error = SendAll(FormatRequest(path, options_.keep_alive)); !result.error.ok()) {
    return result;
  }

  AnswerParser parser(options_.dialect);
  std::unique_ptr<Download> download;
  std::string_view rest;  // bytes received and not yet looked at
  while (parser.state() == AnswerParser::State::kIncomplete) {
    const auto n = Receive();
    if (!n.ok()) {
      result.error = n.status();
      return result;
    }
    if (*n == 0) {
      result.error = Unavailable(parser.started() ? "the answer ended in its head"
                                                  : "the server closed without an answer");
      return result;
    }
    *answered = true;
    rest = std::string_view(buffer_.data(), *n);
    rest.remove_prefix(parser.Feed(rest));
  }
  if (parser.state() == AnswerParser::State::kMalformed) {
    result.error = Error(absl::StatusCode::kDataLoss,
                         fmt::format("malformed answer: {}", parser.malformed_because()));
    return result;
  }
  result.status = parser.answer().status;
  result.length = parser.answer().length;
  if (result.status != AnswerStatus::kOk) return result;

  auto created = Download::Create(folder_, path);
  if (!created.ok()) {
    result.error = created.status();
    return result;
  }
  download = std::move(created).value();
  progress_.expected(result.length);
  for (;;) {
    // Surplus bytes after the length are not ours.
    rest = rest.substr(0, std::min<std::uint64_t>(rest.size(), result.length - result.received));
    if (result.error = download->Write(rest); !result.error.ok()) return result;
    result.received += rest.size();
    progress_.received(rest.size());
    if (result.received == result.length) break;
    const auto n = Receive();
    if (!n.ok()) {
      result.error = n.status();
      return result;
    }
    if (*n == 0) {
      result.error = Unavailable("the server closed before the end");
      return result;
    }
    rest = std::string_view(buffer_.data(), *n);
  }
  result.error = download->Finish();
  return result;
}

absl::Status Fetcher::SendAll(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      RETURN_IF_ERROR(net::WaitFor(socket_.get(), POLLOUT, options_.timeout, options_.cancel_fd));
    } else if (errno != EINTR) {
      return ErrnoError("send the request", errno);
    }
  }
  return absl::OkStatus();
}

/// Fills the buffer with what is there, at least one byte; 0 at the end of the stream.
absl::StatusOr<std::size_t> Fetcher::Receive() {
  for (;;) {
    const ssize_t n = ::recv(socket_.get(), buffer_.data(), buffer_.size(), 0);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == EAGAIN) {
      RETURN_IF_ERROR(net::WaitFor(socket_.get(), POLLIN, options_.timeout, options_.cancel_fd));
    } else if (errno != EINTR) {
      return ErrnoError("receive", errno);
    }
  }
}

}  // namespace ds::getfile
