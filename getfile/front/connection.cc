#include "getfile/front/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <variant>

#include "common/base/check.h"
#include "common/net/socket.h"
#include "getfile/front/send.h"
#include "getfile/front/worker.h"

namespace ds::getfile {
namespace {

/// How much one connection does before others have their turn.
constexpr int kStepsPerTurn = 64;
constexpr std::uint64_t kBytesPerTurn = 4U << 20U;

/// Answers smaller than this are not worth a system call to see how much of them is left.
constexpr std::uint64_t kMeasureBytes = 16384;

constexpr std::size_t kReadBytes = 4096;

constexpr std::uint32_t kEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

/// What a peer must have taken before it counts as one that reads.
constexpr std::uint64_t kProofBytes = 256U << 10U;

/// What the kernel puts into one buffer of a socket, and it fills one that it has begun whatever
/// TCP_NOTSENT_LOWAT says.
constexpr std::uint64_t kSocketBufferBytes = 64U << 10U;

/// From this allowance on a segment that is not full may be held back: below, the kernel might ask
/// for no more while it waits.
constexpr std::uint64_t kHoldAllowance = 4 * kSocketBufferBytes;

/// A segment that is held back while the socket is full leaves after this time, and the connection
/// holds none back any more. The kernel's own limit is 200 ms, for each segment anew.
constexpr Duration kHoldTime = std::chrono::milliseconds(5);

void SetNoDelay(int socket) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

Connection::Connection(Worker* worker, UniqueFd socket, const net::Endpoint& peer, bool refuse)
    : worker_(worker),
      socket_(std::move(socket)),
      peer_(peer),
      core_(&worker->connection_options(), std::chrono::steady_clock::now(), refuse) {}

Connection::~Connection() {
  net::EventLoop& loop = worker_->loop();
  if (in_loop_) loop.Forget(this);
  if (deferred_) loop.CancelDefer(this);
  if (lingering) worker_->CancelLinger(this);
  loop.Cancel(this);
  Unblock();
  worker_->send_budget().Recharge(charged_, 0);
  if (charged_ > 0) worker_->RemoveCharged(this);
  if (core_.phase() == ServerConnection::Phase::kClosed && core_.reset()) {
    const linger reset{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
}

void Connection::Advance() {
  worker_->RefreshDate();
  turn_bytes_ = 0;
  for (int step = 0; step < kStepsPerTurn; ++step) {
    bool more = false;
    switch (core_.phase()) {
      case ServerConnection::Phase::kReading:
        more = Read();
        break;
      case ServerConnection::Phase::kLookup:
        more = LookUp();
        break;
      case ServerConnection::Phase::kSending:
        more = Send();
        break;
      case ServerConnection::Phase::kAwaiting:
        more = AwaitSource();
        break;
      case ServerConnection::Phase::kDraining:
        if (!draining_) {
          draining_ = true;
          body_.reset();
          ::shutdown(socket_.get(), SHUT_WR);
          if (!in_loop_) {  // see Worker::Linger()
            worker_->Linger(this);
            break;
          }
        }
        more = Read();
        break;
      case ServerConnection::Phase::kClosed:
        break;
    }
    if (const auto finished = core_.TakeFinished()) {
      worker_->Record(peer_, *finished);
      body_.reset();
    }
    if (core_.phase() == ServerConnection::Phase::kClosed) {
      return worker_->Close(this, core_.end());  // destroys this
    }
    if (!more) return Park();
    if (turn_bytes_ >= kBytesPerTurn) break;
  }
  // Still able to go on: the others first.
  GiveWay();
  Park();
}

/// Asks for a turn once the others had theirs.
void Connection::GiveWay() {
  if (deferred_) return;
  deferred_ = true;
  worker_->loop().Defer(this);
}

/// Waits for events and for the next deadline.
void Connection::Park() {
  net::EventLoop& loop = worker_->loop();
  if (!in_loop_ && !deferred_ && !lingering) {
    // Only now: a connection that was served at its first look needs no place in the epoll set.
    // Adding reports what has happened since.
    const auto added = loop.Add(socket_.get(), kEvents, this);
    if (!added.ok()) {  // out of epoll watches: this connection cannot be kept
      core_.HandlePeerGone(loop.now());
      return worker_->Close(this, core_.end());
    }
    in_loop_ = true;
  }
  auto deadline = core_.NextDeadline();
  if (hold_deadline_ && (!deadline || *hold_deadline_ < *deadline)) deadline = hold_deadline_;
  if (deadline) {
    loop.Arm(this, *deadline);
  } else {
    loop.Cancel(this);
  }
  if (sent_since_measured_ >= kMeasureBytes) MeasureQueue();
}

bool Connection::Read() {
  if (!readable_) return false;
  // A request is short, and what is read beyond it is kept while it is answered; what is discarded
  // is read in larger pieces.
  auto& buffer = worker_->read_buffer();
  const std::size_t bytes_max = draining_ ? buffer.size() : kReadBytes;
  const ssize_t n = ::recv(socket_.get(), buffer.data(), bytes_max, 0);
  const TimePoint now = std::chrono::steady_clock::now();
  if (n > 0) {
    const auto size = static_cast<std::size_t>(n);
    // A short read means that the kernel has no more; an end that follows is a new edge, unless it
    // was reported already.
    readable_ = size == bytes_max || input_ending_ || !in_loop_;
    core_.HandleBytes({buffer.data(), size}, now);
    return true;
  }
  if (n == 0) {
    readable_ = false;
    std::uint64_t unacknowledged = 0;
    if (charged_ + sent_since_measured_ > 0) {  // it may owe something
      unacknowledged = net::UnacknowledgedBytes(socket_.get());
    }
    if (unacknowledged > 0 && net::TakeSocketError(socket_.get()) != 0) {
      core_.HandlePeerGone(now);
    } else {
      core_.HandleEndOfInput(unacknowledged, now);
    }
    return true;
  }
  if (errno == EAGAIN || errno == EINTR) {
    readable_ = errno == EINTR;
    return readable_;
  }
  readable_ = false;
  core_.HandlePeerGone(now);
  return true;
}

bool Connection::LookUp() {
  if (pending_lookup_ != nullptr) return AwaitSource();
  auto outcome = worker_->source().Lookup(core_.request(), this);
  if (auto* pending = std::get_if<std::unique_ptr<PendingLookup>>(&outcome)) {
    pending_lookup_ = std::move(*pending);
    return AwaitSource();
  }
  auto& result = std::get<LookupResult>(outcome);
  body_ = std::move(result.body);
  core_.HandleLookup(result.answer, std::chrono::steady_clock::now());
  return true;
}

/// Nothing can be done before the source brings something, unless the peer is gone: no read and no
/// write would show it, and the source shall not work for nobody.
bool Connection::AwaitSource() {
  if (hung_up_) core_.HandlePeerGone(worker_->loop().now());
  return hung_up_;
}

void Connection::OnLookup(LookupResult result) {
  body_ = std::move(result.body);
  core_.HandleLookup(result.answer, std::chrono::steady_clock::now());
  pending_lookup_.reset();
  Advance();
}

bool Connection::Send() {
  if (!writable_) return false;
  const std::string_view head = core_.head_left();
  const std::uint64_t left = core_.body_left();
  const bool was_blocked = blocked_;
  Unblock();
  if (!core_.last_answer() && !no_delay_) {
    // No end of the stream follows that would push the last segment out: Nagle's algorithm would
    // hold it until the peer, which may wait 40 ms, acknowledges the one before.
    no_delay_ = true;
    SetNoDelay(socket_.get());
  }
  bool hold = false;
  hold_deadline_.reset();
  Body::Sent sent;
  if (left == 0) {
    const ssize_t n = ::send(socket_.get(), head.data(), head.size(),
                             MSG_NOSIGNAL | (core_.last_answer() ? MSG_MORE : 0));
    if (n >= 0) {
      sent.bytes = static_cast<std::uint64_t>(n);
      if (sent.bytes < head.size()) sent.outcome = Body::Outcome::kSocketFull;
    } else {
      sent.outcome = errno == EAGAIN ? Body::Outcome::kSocketFull : Body::Outcome::kPeerGone;
    }
  } else {
    if (was_blocked) {
      // Any peer's kernel takes the first window full, whether its program reads or not.
      const std::uint64_t taken = sent_total_ - charged_;
      if (allowance_ > 0 && taken >= std::max<std::uint64_t>(4 * allowance_, kProofBytes)) {
        SetAllowance(worker_->GrownAllowance(allowance_));
      }
    } else if (allowance_ == 0) {
      // Answers that were not acknowledged yet count too: many small ones make a large one.
      const std::uint64_t initial = worker_->InitialAllowance();
      if (charged_ + sent_since_measured_ + left > initial) SetAllowance(initial);
    }
    if (allowance_ > 0 && worker_->send_budget().tight()) {
      // Many may have grown, one after the other, before any of them stopped reading.
      SetAllowance(std::min(allowance_, worker_->InitialAllowance()));
    }
    std::uint64_t chunk = allowance_ == 0 ? left : std::min(left, allowance_);
    if (allowance_ > 0 && allowance_ < kSocketBufferBytes) {
      chunk = std::min(chunk, allowance_ - std::min(allowance_, net::UnsentBytes(socket_.get())));
    }
    // What does not fill a segment waits for more of the answer, and at its end for the end of the
    // stream.
    hold = core_.last_answer() && may_hold_ && (allowance_ == 0 || allowance_ >= kHoldAllowance);
    if (chunk == 0) {
      // Of a peer that is gone the kernel goes on saying that bytes are unsent.
      sent.outcome = hung_up_ ? Body::Outcome::kPeerGone : Body::Outcome::kSocketFull;
    } else {
      sent = body_->Send(socket_.get(), head, core_.body_offset(), chunk, hold);
    }
  }
  const TimePoint now = std::chrono::steady_clock::now();
  sent_since_measured_ += sent.bytes;
  turn_bytes_ += sent.bytes;
  sent_total_ += sent.bytes;
  core_.HandleSent(sent.bytes, now);
  switch (sent.outcome) {
    case Body::Outcome::kSent:
      return true;
    case Body::Outcome::kSocketFull:
      writable_ = false;
      // The kernel tells when a third is free. Trying at once again would send in small pieces, and
      // wait for an edge that a full source would never cause.
      if (in_loop_) worker_->loop().Rearm(socket_.get(), kEvents, this);
      if (hold) hold_deadline_ = now + kHoldTime;
      MeasureQueue();
      if (!blocked_) {
        blocked_ = true;
        blocked_time_ = now;
        blocked_place_ = worker_->blocked().insert(worker_->blocked().end(), this);
      }
      if (worker_->send_budget().tight()) worker_->ShrinkBlocked();
      return core_.phase() != ServerConnection::Phase::kSending;
    case Body::Outcome::kNotYet:
      core_.HandleBodyLate();
      if (hold) SendHeld(socket_.get());
      body_->Wait(this, core_.body_offset());
      return true;
    case Body::Outcome::kSourceBroken:
      core_.HandleSourceBroken(now);
      return true;
    case Body::Outcome::kPeerGone:
      core_.HandlePeerGone(now);
      return true;
  }
  return false;
}

/// In its own turn: whoever wakes many waiters does it in the middle of something else, and more
/// may come before the end of this turn.
void Connection::OnBodyGrown() {
  core_.HandleBodyGrown();
  GiveWay();
}

/// Limits what the kernel holds unsent for this peer; what is in flight is bounded by the window
/// that the peer itself has opened.
void Connection::SetAllowance(std::uint64_t bytes) {
  if (bytes == allowance_) return;
  allowance_ = bytes;
  const int value = static_cast<int>(bytes);
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, sizeof value);
  if (bytes < kHoldAllowance) SendHeld(socket_.get());  // nothing is held from here on, see Send()
  if (bytes < kSocketBufferBytes) SetNoDelay(socket_.get());  // less than a segment, perhaps
}

void Connection::Shrink() {
  SetAllowance(worker_->send_budget().floor());
  worker_->blocked().erase(blocked_place_);
  blocked_place_ = worker_->blocked().end();
}

void Connection::MeasureQueue() {
  const std::uint64_t queued = net::UnacknowledgedBytes(socket_.get());
  worker_->send_budget().Recharge(charged_, queued);
  if (charged_ == 0 && queued > 0) worker_->AddCharged(this);
  if (charged_ > 0 && queued == 0) worker_->RemoveCharged(this);
  charged_ = queued;
  sent_since_measured_ = 0;
  worker_->PublishSendBuffer();
}

void Connection::Unblock() {
  if (!blocked_) return;
  blocked_ = false;
  if (blocked_place_ != worker_->blocked().end()) worker_->blocked().erase(blocked_place_);
}

void Connection::BeginShutdown() {
  // A request that has arrived and was not read yet is work in flight.
  if (core_.phase() == ServerConnection::Phase::kReading) {
    readable_ = true;
    Read();
  }
  core_.BeginShutdown(worker_->loop().now());
  Advance();
}

void Connection::OnEvents(std::uint32_t events) {
  if (events == 0) deferred_ = false;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) readable_ = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP)) != 0) input_ending_ = true;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) writable_ = true;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) hung_up_ = true;
  Advance();
}

void Connection::OnTimer() {
  if (hold_deadline_ && *hold_deadline_ <= worker_->loop().now()) {
    // A small window, perhaps, that no full segment fits into.
    hold_deadline_.reset();
    may_hold_ = false;
    SendHeld(socket_.get());
    return Park();
  }
  const std::uint64_t queued = net::UnacknowledgedBytes(socket_.get());
  core_.HandleTimeout(queued, worker_->loop().now());
  if (charged_ != queued) MeasureQueue();
  Advance();
}

}  // namespace ds::getfile
