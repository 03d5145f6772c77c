#include "udp_transfer/core/discovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

constexpr Duration kFirstRepeat = std::chrono::milliseconds(250);
constexpr Duration kRepeatIntervalMax = std::chrono::seconds(1);
/// The last hello that kAuto sends to who acknowledges everything at once, after the begin: whoever
/// has not answered by then is classic.
constexpr Duration kLastHelloWhenCalm = std::chrono::seconds(1);
constexpr Duration kRepeatWhenNotCalm = std::chrono::milliseconds(125);
/// The server is asked for so long at most, and only within so much of the last message's first
/// send: less than it remembers that it has answered that.
constexpr Duration kAskTime = std::chrono::seconds(2);
constexpr Duration kAskBegin = std::chrono::seconds(3);
constexpr Duration kAskEnd = std::chrono::milliseconds(4500);

}  // namespace

Discovery::Discovery(Options options, TimePoint now) : options_(std::move(options)), begin_(now) {
  if (options_.mode != Mode::kFast) classic_.emplace(options_.classic);
  if (options_.mode != Mode::kClassic) hello_due_ = now;
}

std::optional<Discovery::Datagram> Discovery::PollTransmit(std::span<std::byte> out,
                                                           TimePoint now) {
  if (outcome_ != Outcome::kRunning) return std::nullopt;
  // The start goes first: a server that has the whole (empty) file by it answers the hello behind
  // it accordingly.
  if (classic_ && !HoldsStart(now)) {
    if (const std::size_t bytes = classic_->PollTransmit(out, now)) {
      if (classic_->last_message_sent() && classic_->sends() == 1) last_left_ = now;
      if (options_.mode == Mode::kAuto && !Calm()) hello_due_ = now;
      return Datagram{false, bytes};
    }
  }
  if (!hello_due_ || *hello_due_ > now) return std::nullopt;
  if (asking_until_ && *asking_until_ <= now) return std::nullopt;
  ++hellos_sent_;
  if (hellos_sent_ == 1) begin_ = now;  // what the shell did before its first send does not count
  std::optional<Duration> next = std::max(*hello_due_, begin_) - begin_;
  while (next && begin_ + *next <= now) next = NextHello(*next);
  hello_due_.reset();
  if (next) hello_due_ = begin_ + *next;
  return Datagram{true, 0, std::exchange(fresh_, false)};
}

/// An empty file is there with its start message. So that a server of ours gets it in fast mode,
/// with its time and its mode, that waits for an answer to the first hello.
bool Discovery::HoldsStart(TimePoint now) const {
  return options_.mode == Mode::kAuto && classic_->total_bytes() == 0 && classic_->sends() == 0 &&
         (hellos_sent_ == 0 || now < begin_ + kFirstRepeat);
}

/// The server speaks classic, and the path shows no loss.
bool Discovery::Calm() const { return classic_ && classic_->started() && classic_->sends() <= 1; }

/// When the hello follows that comes after one at `sent`; both after the begin.
std::optional<Duration> Discovery::NextHello(Duration sent) const {
  if (options_.mode == Mode::kAuto && !Calm()) {
    return std::max(kFirstRepeat, sent + kRepeatWhenNotCalm);
  }
  const Duration next = std::max(kFirstRepeat, std::min(2 * sent, sent + kRepeatIntervalMax));
  if (options_.mode == Mode::kAuto && next > kLastHelloWhenCalm) return std::nullopt;
  return next;
}

void Discovery::HandleDatagram(std::span<const std::byte> datagram, TimePoint now) {
  if (classic_) classic_->HandleDatagram(datagram, now);
  Decide();
}

void Discovery::HandleCookie(TimePoint now) {
  if (hellos_sent_ == 0 || cookie_ || fresh_) return;
  cookie_ = true;
  if (hellos_sent_ == 1) rtt_ = now - begin_;
  Decide();
}

void Discovery::HandleRefusal() {
  refused_ = true;
  if (classic_) classic_->HandleRefusal();
  Decide();
}

std::optional<TimePoint> Discovery::NextDeadline() const {
  if (outcome_ != Outcome::kRunning) return std::nullopt;
  std::optional<TimePoint> next = hello_due_;
  const auto sooner = [&](TimePoint time) { next = next ? std::min(*next, time) : time; };
  if (asking_until_) {
    sooner(*asking_until_);
  } else if (classic_ && classic_->NextDeadline()) {
    sooner(*classic_->NextDeadline());
  }
  if (!classic_) sooner(begin_ + options_.timeout);
  return next;
}

void Discovery::HandleTimeout(TimePoint now) {
  if (HasToAsk(now)) {
    asking_until_ = std::min(now + kAskTime, *last_left_ + kAskEnd);
    cookie_ = false;
    fresh_ = true;
    hello_due_ = now;
  }
  // The client still waits for the last ack while the server is asked.
  if (classic_ && (!asking_until_ || now >= *asking_until_)) classic_->HandleTimeout(now);
  if (!classic_ && now >= begin_ + options_.timeout && outcome_ == Outcome::kRunning) {
    outcome_ = Outcome::kFailed;
  }
  Decide();
}

/// The last message was sent as often as it may be, and the server has answered a hello: a kept
/// cookie may be from before that message came, but one for another hello is none. Not by a client
/// that was stopped meanwhile: the server may have forgotten by now that it has the file.
bool Discovery::HasToAsk(TimePoint now) const {
  return cookie_ && !asking_until_ && classic_ && classic_->last_message_sent() &&
         classic_->sends() == ClassicClient::kSends && classic_->NextDeadline() &&
         now >= *classic_->NextDeadline() && now < *last_left_ + kAskBegin;
}

/// Two transfers of one file would be one too many. So a cookie counts at once while the server
/// cannot have all of it; later only one for a hello that left when all that was sent had arrived
/// or was lost: a server that has the file answers a hello with an ack. An empty file, which the
/// server has by the start message, need not wait for that: if neither start nor hello is answered
/// with an ack in 0.5 s, classic mode is off there.
bool Discovery::MayUseCookie() const {
  if (!cookie_) return false;
  if (!classic_ || asking_until_ || !classic_->last_message_sent()) return true;
  return classic_->total_bytes() == 0 && !classic_->NextDeadline();
}

void Discovery::Decide() {
  if (outcome_ != Outcome::kRunning) return;
  if (classic_ && classic_->outcome() == ClassicClient::Outcome::kDone) {
    outcome_ = Outcome::kClassicDone;
  } else if (MayUseCookie()) {
    outcome_ = Outcome::kFast;
  } else if (refused_ || (classic_ && classic_->outcome() != ClassicClient::Outcome::kRunning)) {
    outcome_ = Outcome::kFailed;
  }
}

std::string Discovery::FailureText() const {
  CHECK(outcome_ == Outcome::kFailed);
  if (classic_) return classic_->FailureText();
  if (refused_) return "connection refused (is it running?)";
  return fmt::format("no answer to a hello within {} s (is it an udp-server, with the same key?)",
                     ToSeconds(options_.timeout));
}

bool Discovery::MayBeStored() const {
  CHECK(outcome_ == Outcome::kFailed || outcome_ == Outcome::kRunning);
  // What was sent once, and refused, has not come to anybody.
  return classic_ && classic_->last_message_sent() && classic_->sends() > (refused_ ? 1 : 0);
}

}  // namespace ds::udp_transfer
