#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "common/base/time.h"
#include "udp_transfer/core/classic_client.h"

namespace ds::udp_transfer {

/// How a client finds out which of the two protocols its server speaks, without a round trip for it
/// and without a classic server noticing (ARCHITECTURE.md, "Discovery, case by case"):
///
/// * kAuto sends the start message and a hello in one burst. The start's ack makes it go on in
///   classic mode at once; a cookie makes it change to fast mode, as long as the server cannot have
///   the whole file already. The hello is repeated 0.25, 0.5 and 1 s after the begin, and each
///   0.125 s as long as nothing has answered or a message had to be sent again: then hellos may
///   have been lost, too. An empty file's start is held back for 0.25 s: a cookie that comes before
///   it means fast mode.
/// * When nothing acknowledges the message that completes the file, but the server knows fast mode,
///   it is asked by a hello of a new kind, whose cookie says that it does not have the file.
/// * kClassic never sends a hello, kFast never a start message.
///
/// It contains the classic client. The shell sends what PollTransmit() says (it makes the hello
/// itself), gives in classic datagrams and the news of a valid cookie, and looks at outcome() after
/// each call. Owned by one thread, deadline-driven, deterministic.
class Discovery {
 public:
  enum class Mode { kAuto, kClassic, kFast };

  struct Options {
    Mode mode = Mode::kAuto;
    /// kFast: how long a cookie is waited for. (Classic mode has its own times.)
    Duration timeout = std::chrono::seconds(10);
    ClassicClient::Options classic;
  };

  enum class Outcome {
    kRunning,
    kFast,         ///< go on with the cookie; classic datagrams are no longer of interest
    kClassicDone,  ///< the file is there
    kFailed,       ///< FailureText()
  };

  struct Datagram {
    bool hello;         ///< send a hello
    std::size_t bytes;  ///< else, this much of `out`
    /// The hello has to be another one than before: from now on only its cookies are valid.
    bool fresh = false;
  };

  /// Begins at `now`.
  Discovery(Options options, TimePoint now);

  /// What is to be sent now; call it until there is nothing more. `out` as ClassicClient says.
  std::optional<Datagram> PollTransmit(std::span<std::byte> out, TimePoint now);
  /// A datagram whose first byte is below 0x80.
  void HandleDatagram(std::span<const std::byte> datagram, TimePoint now);
  /// A cookie came that answers the present hello of this client, with a valid tag. Keep the first
  /// one.
  void HandleCookie(TimePoint now);
  /// The socket says that nothing listens at the server's address.
  void HandleRefusal();

  std::optional<TimePoint> NextDeadline() const;
  void HandleTimeout(TimePoint now);

  Outcome outcome() const { return outcome_; }
  /// In words for the user. REQUIRES: kFailed.
  std::string FailureText() const;
  /// The server may have stored the file. REQUIRES: neither kClassicDone nor kFast.
  bool MayBeStored() const;
  /// From the hello to the cookie; none if several hellos had been sent.
  std::optional<Duration> rtt() const { return rtt_; }
  /// For its payloads and its counts; null in kFast.
  ClassicClient* classic() { return classic_ ? &*classic_ : nullptr; }

 private:
  bool HoldsStart(TimePoint now) const;
  bool Calm() const;
  std::optional<Duration> NextHello(Duration sent) const;
  bool HasToAsk(TimePoint now) const;
  bool MayUseCookie() const;
  void Decide();

  Options options_;
  TimePoint begin_;
  Outcome outcome_ = Outcome::kRunning;
  std::optional<ClassicClient> classic_;
  std::optional<TimePoint> hello_due_;
  int hellos_sent_ = 0;
  bool cookie_ = false;
  bool fresh_ = false;                       ///< the next hello
  std::optional<TimePoint> last_left_;       ///< when the last message was first sent
  std::optional<TimePoint> asking_until_{};  ///< whether the server has the file
  bool refused_ = false;
  std::optional<Duration> rtt_;
};

}  // namespace ds::udp_transfer
