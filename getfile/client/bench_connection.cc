#include "getfile/client/bench_connection.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "common/base/check.h"
#include "common/base/status.h"

namespace ds::getfile {
namespace {

constexpr std::uint32_t kInput = EPOLLIN | EPOLLRDHUP | EPOLLET;
constexpr Duration kRestMin = std::chrono::milliseconds(10);
constexpr Duration kRestMax = std::chrono::milliseconds(500);
/// With no more than this, the head of a large answer costs little to copy and a small answer comes
/// whole.
constexpr std::size_t kHeadReadBytes = 8192;
constexpr std::size_t kVerifyReadBytes = 262144;
/// Receives in one turn; then other connections have theirs.
constexpr int kReceivesMax = 16;
/// A request that surely leaves in one segment is not held back by Nagle's algorithm.
constexpr std::size_t kSegmentBytes = 512;

/// Throws away up to `n` bytes inside the kernel (tcp(7), MSG_TRUNC). By its number, since the
/// sanitizers' recv() looks at the buffer, and there is none.
ssize_t Discard(int fd, std::size_t n) {
  return ::syscall(SYS_recvfrom, fd, nullptr, n, MSG_TRUNC, nullptr, nullptr);
}

}  // namespace

const char* Name(BenchError error) {
  switch (error) {
    case BenchError::kConnect:
      return "connect";
    case BenchError::kClosed:
      return "closed";
    case BenchError::kTimeout:
      return "timeout";
    case BenchError::kMalformed:
      return "malformed";
    case BenchError::kStatus:
      return "status";
    case BenchError::kVerify:
      return "verify";
    case BenchError::kKeepAlive:
      return "keep_alive";
  }
  return "?";
}

BenchSession::BenchSession(const BenchPlan* bench_plan, net::EventLoop* event_loop)
    : plan(bench_plan), loop(event_loop), keep_alive(bench_plan->keep_alive) {
  const bool verifies = std::any_of(plan->requests.begin(), plan->requests.end(),
                                    [](const auto& request) { return !request.digest.empty(); });
  buffer.resize(verifies ? kVerifyReadBytes : kHeadReadBytes);
}

BenchConnection::BenchConnection(BenchSession* session, Owner* owner)
    : session_(session), owner_(owner), rest_(kRestMin) {}

BenchConnection::~BenchConnection() {
  session_->loop->Cancel(this);
  Close();
}

void BenchConnection::Start(const BenchPlan::Request& request, TimePoint counted_from,
                            TimePoint now) {
  CHECK(state_ == State::kIdle);
  request_ = &request;
  counted_from_ = counted_from;
  keep_alive_ = session_->keep_alive;
  unsent_ = keep_alive_ ? request.bytes : request.bytes_without_keep_alive;
  // Moving the deadline to a later time, as here for all requests but the first, costs nothing. It
  // is not cancelled at the end of the request: OnTimer() knows better.
  session_->loop->Arm(this, now + session_->plan->timeout);
  state_ = State::kSending;
  if (!fd_) {
    endpoint_ = session_->endpoint;
    endpoints_tried_ = 0;
    Connect();
  } else if (const int error = Send(); error != 0) {
    Fail(BenchError::kClosed, ErrnoText(error));
  }
}

void BenchConnection::Connect() {
  for (;;) {
    const int error = ConnectTo(session_->plan->endpoints[endpoint_]);
    if (error == 0 || !TryNextEndpoint(error)) return;
  }
}

bool BenchConnection::TryNextEndpoint(int error_number) {
  Close();
  const auto& endpoints = session_->plan->endpoints;
  if (++endpoints_tried_ < endpoints.size()) {
    endpoint_ = (endpoint_ + 1) % endpoints.size();
    return true;
  }
  Fail(BenchError::kConnect, ErrnoText(error_number));
  return false;
}

int BenchConnection::ConnectTo(const net::Endpoint& endpoint) {
  fd_.Reset(::socket(endpoint.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd_) return errno;
  if (keep_alive_ || unsent_.size() > kSegmentBytes) {
    const int on = 1;
    if (::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) return errno;
  }
  if (::connect(fd_.get(), endpoint.address(), endpoint.length()) != 0 && errno != EINPROGRESS) {
    return errno;
  }
  // Over loopback the connection is there by now, though connect() could not say so.
  return Send();
}

int BenchConnection::Send() {
  while (!unsent_.empty()) {
    const ssize_t n = ::send(fd_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      connected_ = true;
      unsent_.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      return Watch(kInput | EPOLLOUT);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  rest_ = kRestMin;
  session_->endpoint = endpoint_;
  state_ = State::kHead;
  if (session_->plan->protocol == Protocol::kHttp) {
    http_head_.Reset();
  } else {
    getfile_head_ = AnswerParser();
  }
  return Watch(kInput);
}

int BenchConnection::Watch(std::uint32_t events) {
  if ((watched_ & events) == events) return 0;
  if (watched_ != 0) session_->loop->Remove(fd_.get(), this);
  watched_ = 0;
  if (!session_->loop->Add(fd_.get(), events, this).ok()) return ENOSPC;
  watched_ = events;
  return 0;
}

void BenchConnection::OnEvents(std::uint32_t events) {
  if (events == 0) deferred_ = false;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) hung_up_ = true;
  switch (state_) {
    case State::kIdle:
      if (events != 0) Close();  // the server ended a connection that nothing is asked of
      return;
    case State::kResting:
      state_ = State::kIdle;
      owner_->OnIdle(this, std::chrono::steady_clock::now());
      return;
    case State::kSending:
      if (const int error = Send(); error != 0) {
        if (connected_) return Fail(BenchError::kClosed, ErrnoText(error));
        if (TryNextEndpoint(error)) Connect();
        return;
      }
      if (state_ == State::kSending) return;
      // What has come meanwhile was told with this very edge.
      [[fallthrough]];
    case State::kHead:
    case State::kBody:
      Receive();
      return;
  }
}

void BenchConnection::OnTimer() {
  switch (state_) {
    case State::kIdle:
      return;  // left over from a request that ended in time
    case State::kResting:
      state_ = State::kIdle;
      owner_->OnIdle(this, std::chrono::steady_clock::now());
      return;
    case State::kSending:
    case State::kHead:
    case State::kBody:
      Fail(BenchError::kTimeout, connected_ ? "no whole answer in time" : "not connected in time");
      return;
  }
}

void BenchConnection::Receive() {
  std::vector<char>& buffer = session_->buffer;
  for (int i = 0; i < kReceivesMax; ++i) {
    const bool discard = state_ == State::kBody && !digest_;
    const std::size_t wanted =
        discard ? static_cast<std::size_t>(std::min<std::uint64_t>(left_, std::uint64_t{1} << 30U))
                : buffer.size();
    const ssize_t n =
        discard ? Discard(fd_.get(), wanted) : ::recv(fd_.get(), buffer.data(), wanted, 0);
    if (n < 0) {
      if (errno == EAGAIN) return;
      if (errno == EINTR) continue;
      return Fail(BenchError::kClosed, ErrnoText(errno));
    }
    if (n == 0) {
      return Fail(BenchError::kClosed, state_ == State::kBody ? "the server closed within the body"
                                                              : "the server closed without a "
                                                                "whole head");
    }
    const auto received = static_cast<std::size_t>(n);
    if (discard) {
      left_ -= received;
      if (left_ == 0) return Finish();
    } else if (!Take({buffer.data(), received})) {
      return;
    }
    // Fewer than there was room for: the socket is empty, and the next byte is a new edge. The end
    // of the stream is none if it came before this one.
    if (received < wanted && !hung_up_) return;
  }
  Defer();
}

void BenchConnection::Defer() {
  if (!deferred_) session_->loop->Defer(this);
  deferred_ = true;
}

bool BenchConnection::Take(std::string_view bytes) {
  if (state_ == State::kHead && !TakeHead(&bytes)) return false;
  if (state_ == State::kHead) return true;
  if (bytes.size() > left_) {
    if (keep_alive_) {
      Fail(BenchError::kMalformed, "bytes beyond the length");
      return false;
    }
    bytes = bytes.substr(0, left_);  // what comes after the answer is not looked at
  }
  if (digest_) digest_->Update(bytes);
  left_ -= bytes.size();
  if (left_ > 0) return true;
  Finish();
  return false;
}

bool BenchConnection::TakeHead(std::string_view* bytes) {
  if (session_->plan->protocol == Protocol::kHttp) {
    bytes->remove_prefix(http_head_.Feed(*bytes));
    if (http_head_.state() == HttpAnswerParser::State::kIncomplete) return true;
    if (http_head_.state() == HttpAnswerParser::State::kMalformed) {
      Fail(BenchError::kMalformed, http_head_.malformed_because());
      return false;
    }
    const HttpAnswerHead& head = http_head_.head();
    if (head.code != 200) {
      Fail(BenchError::kStatus, fmt::format("status {}", head.code));
      return false;
    }
    length_ = head.length;
    reusable_ = head.keep_alive;
  } else {
    bytes->remove_prefix(getfile_head_.Feed(*bytes));
    if (getfile_head_.state() == AnswerParser::State::kIncomplete) return true;
    if (getfile_head_.state() == AnswerParser::State::kMalformed) {
      Fail(BenchError::kMalformed, getfile_head_.malformed_because());
      return false;
    }
    if (!TakeStatus(getfile_head_.answer().status)) return false;
    length_ = getfile_head_.answer().length;
    reusable_ = true;
  }
  left_ = length_;
  state_ = State::kBody;
  if (!request_->digest.empty()) digest_.emplace();
  return true;
}

bool BenchConnection::TakeStatus(AnswerStatus status) {
  if (status == AnswerStatus::kOk) return true;
  if (status == AnswerStatus::kInvalid && keep_alive_) {
    session_->keep_alive = false;
    Fail(BenchError::kKeepAlive,
         "the server does not know keep-alive; from now on a connection per request");
  } else {
    Fail(BenchError::kStatus, fmt::format("status {}", Name(status)));
  }
  return false;
}

void BenchConnection::Finish() {
  if (digest_) {
    const std::string digest = digest_->FinishHex();
    digest_.reset();
    if (digest != request_->digest) {
      return Fail(BenchError::kVerify,
                  fmt::format("SHA-256 is {}, expected {}", digest, request_->digest));
    }
  }
  TimePoint now = std::chrono::steady_clock::now();
  state_ = State::kIdle;
  owner_->OnAnswered(counted_from_, now, length_);
  if (!keep_alive_ || !reusable_ || hung_up_) {
    Close();
    now = std::chrono::steady_clock::now();  // closing is not part of the next request
  }
  owner_->OnIdle(this, now);
}

void BenchConnection::Fail(BenchError error, std::string_view why) {
  const TimePoint now = std::chrono::steady_clock::now();
  Close();
  digest_.reset();
  state_ = State::kResting;
  if (error == BenchError::kConnect) {
    session_->loop->Arm(this, now + rest_);
    rest_ = std::min(rest_ * 2, kRestMax);
  } else {
    session_->loop->Cancel(this);
    Defer();
  }
  const std::string tried =
      error == BenchError::kConnect
          ? fmt::format("connect {}", session_->plan->endpoints[endpoint_].ToString())
          : fmt::format("fetch \"{}\"", request_->path);
  owner_->OnFailed(counted_from_, now, error, fmt::format("{}: {}", tried, why));
}

void BenchConnection::Close() {
  session_->loop->Forget(this);
  fd_.Reset();
  watched_ = 0;
  connected_ = hung_up_ = deferred_ = false;
}

}  // namespace ds::getfile
