#include "compute/tcp/connection.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

#include "compute/tcp/worker.h"

namespace ds::compute::tcp {
namespace {

/// For a peer to see the end of the stream and to close. Closing with unread bytes would be a
/// reset, and could destroy answers under way.
constexpr Duration kLingerTime = std::chrono::seconds(1);

}  // namespace

Connection::Connection(Worker* worker, UniqueFd socket, const net::Endpoint& peer,
                       Protocol protocol)
    : worker_(worker), socket_(std::move(socket)), peer_(peer), protocol_(protocol) {}

Connection::~Connection() {
  if (watched_ != 0) worker_->loop().Forget(this);
  worker_->loop().Cancel(this);
  worker_->CountUnsent(counted_, 0);
}

absl::Status Connection::Start() {
  // Level triggered: a connection with more to read than one buffer is reported again in the next
  // turn, after all others that are ready.
  RETURN_IF_ERROR(worker_->loop().Add(socket_.get(), EPOLLIN, this));
  watched_ = EPOLLIN;
  Settle();
  return absl::OkStatus();
}

void Connection::OnEvents(std::uint32_t /*events*/) {
  if (lingering_) return Discard();
  if (unsent_.empty()) {
    Read();
  } else {
    SendUnsent();
  }
  Settle();
}

/// False if nothing had come.
bool Connection::Read() {
  auto& buffer = worker_->read_buffer();
  const ssize_t n = ::recv(socket_.get(), buffer.data(), worker_->read_bytes_max(), 0);
  if (n < 0) {
    broken_ = errno != EAGAIN && errno != EINTR;
    return broken_;
  }
  std::visit(
      [&](auto& protocol) {
        if (n > 0) {
          const std::string_view bytes(buffer.data(), static_cast<std::size_t>(n));
          protocol.HandleBytes(bytes, worker_->loop().now(), &worker_->answers());
        } else {
          protocol.HandleEndOfStream(&worker_->answers());
        }
      },
      protocol_);
  ended_ = n == 0;
  in_flight_ -= std::min(in_flight_, static_cast<std::size_t>(n));
  worker_->CountReceived(static_cast<std::uint64_t>(n));
  Send();
  return true;
}

/// Gives the worker's answers to the kernel, and keeps what it does not take.
void Connection::Send() {
  worker_->CountAnswers();
  std::string& answers = worker_->answers().bytes;
  if (answers.empty()) return;
  if (unsent_.empty()) {
    // Nearly always all of it.
    const ssize_t n = ::send(socket_.get(), answers.data(), answers.size(), MSG_NOSIGNAL);
    if (n == static_cast<ssize_t>(answers.size())) {
      std::visit([&](auto& p) { p.HandleSent(worker_->loop().now()); }, protocol_);
      answers.clear();
      return;
    }
    broken_ |= n < 0 && errno != EAGAIN && errno != EINTR;
    answers.erase(0, static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  }
  unsent_ += answers;
  answers.clear();
}

void Connection::SendUnsent() {
  const ssize_t n = ::send(socket_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
  if (n < 0) {
    broken_ = errno != EAGAIN && errno != EINTR;
    return;
  }
  std::visit([&](auto& p) { p.HandleSent(worker_->loop().now()); }, protocol_);
  unsent_.erase(0, static_cast<std::size_t>(n));
  if (unsent_.empty()) unsent_.shrink_to_fit();
}

/// Waits for what comes next, or closes when nothing does. May destroy the connection.
void Connection::Settle() {
  CountUnsent();
  const bool timed_out = std::visit([](auto& p) { return p.timed_out(); }, protocol_);
  if (broken_) return worker_->Close(this, End::kPeerGone);
  if (timed_out) return worker_->Close(this, End::kIdle);
  const bool all_sent = unsent_.empty();
  if (all_sent && ended_) return worker_->Close(this, End::kDone);
  const bool awaits_pause = std::visit([](auto& p) { return p.awaits_pause(); }, protocol_);
  if (all_sent && closing_ && in_flight_ == 0 && !awaits_pause) {
    lingering_ = true;
    ::shutdown(socket_.get(), SHUT_WR);
    Watch(EPOLLIN);
    worker_->loop().Arm(this, worker_->loop().now() + kLingerTime);
    return;
  }
  Watch(all_sent ? EPOLLIN : EPOLLOUT);
  worker_->loop().Arm(this, std::visit([](auto& p) { return p.NextDeadline(); }, protocol_));
}

void Connection::CountUnsent() {
  const std::size_t kept = unsent_.empty() ? 0 : unsent_.capacity();
  worker_->CountUnsent(counted_, kept);
  counted_ = kept;
}

void Connection::Watch(std::uint32_t events) {
  if (watched_ == events) return;
  worker_->loop().Rearm(socket_.get(), events, this);
  watched_ = events;
}

void Connection::Discard() {
  auto& buffer = worker_->read_buffer();
  const ssize_t n = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) worker_->Close(this, End::kDone);
}

void Connection::OnTimer() {
  if (lingering_) return worker_->Close(this, End::kDone);
  const bool awaits_pause = std::visit([](auto& p) { return p.awaits_pause(); }, protocol_);
  // The peer pauses only if nothing has come that was not looked at yet, a busy worker being late.
  if (!(awaits_pause && !ended_ && Read())) {
    const TimePoint now = worker_->loop().now();
    std::visit([&](auto& p) { p.HandleTimeout(now, &worker_->answers()); }, protocol_);
    Send();
  }
  Settle();
}

void Connection::BeginShutdown() {
  int received = 0;
  if (::ioctl(socket_.get(), FIONREAD, &received) != 0) received = 0;
  in_flight_ = static_cast<std::size_t>(std::max(received, 0));
  closing_ = true;
  Settle();
}

}  // namespace ds::compute::tcp
