#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <variant>

#include "udp_transfer/core/transfer_message.h"

namespace ds::udp_transfer {

/// The server's side of the transfer protocol: the client's stream goes in, what has to be done on
/// the disk comes out, one effect at a time, and the answers for the server's stream pile up in
/// replies(). Owned by the one thread that does a session's disk work; single threaded.
///
///   auto step = receiver.Next(connection.Readable());
///   …execute step.effect: it may refer to the readable bytes, and each but NeedBytes, Discard and
///    Broken is answered by the call that stands at it, or by Failed()…
///   connection.Consume(step.consumed);
///   …move receiver.replies() to connection.Writable(); do not go on while it is not empty: so it
///    is bounded by two messages, and those that were held…
///   …when the peer has finished: at_end(), else the session is broken…
///
/// One file is open at a time: from OpenFile until Finish, Discard or Failed().
class FileReceiver {
 public:
  /// Stored() when folder and parents are there and synced.
  struct MakeFolder {
    OpenMessage open;
  };
  /// Opened().
  struct OpenFile {
    OpenMessage open;
  };
  /// What is there is not what the client has: begin at 0 again. Succeeded().
  struct Restart {};
  /// Bytes that follow the ones before. Succeeded().
  struct Append {
    std::span<const std::byte> bytes;
  };
  /// All bytes are there: compare the digest, sync, rename. Stored(), or Deferred().
  struct Finish {
    std::string digest;
  };
  /// The client gave the file up: close it, keep nothing of it.
  struct Discard {
    std::string why;
  };
  /// The stream breaks the rules: close the connection. An open file is kept for a resume.
  struct Broken {
    std::string why;
  };
  using Effect =
      std::variant<NeedBytes, MakeFolder, OpenFile, Restart, Append, Finish, Discard, Broken>;
  struct Step {
    std::size_t consumed;
    Effect effect;
  };

  /// REQUIRES: the effect before has been answered.
  Step Next(std::span<const std::byte> bytes);

  /// `offset` bytes are there, with this digest (empty at 0). REQUIRES: 0 unless open.resume.
  void Opened(std::uint64_t offset, std::string digest);
  void Succeeded();
  void Stored(std::string name);
  /// For Finish: what becomes of the file is said later, by Settled(); until then the answers of
  /// the files behind it are held.
  void Deferred();
  /// Of the first file that was deferred and has not been settled.
  void Settled(Outcome outcome, std::string text);
  /// Answers that wait for a deferred file, its own one too.
  std::size_t held() const { return held_.size(); }
  /// For any effect: its file is closed, the rest of its stream is skipped.
  /// REQUIRES: an outcome other than kStored.
  void Failed(Outcome outcome, std::string why);

  /// For the front of the server's stream; the user takes bytes off its front.
  std::string& replies() { return replies_; }

  /// No file is begun: here the client's stream may end.
  bool at_end() const { return reader_.at_end(); }

 private:
  Effect EffectOf(RequestReader::Event event);
  void Answer(Outcome outcome, std::string text);

  RequestReader reader_;
  OpenMessage open_;
  bool answered_ = true;  ///< the file with this number has its D
  bool effect_pending_ = false;
  struct Held {
    DoneMessage done;
    bool settled;
  };
  std::deque<Held> held_;     ///< in the order of files; the first one is not settled
  std::uint64_t offset_ = 0;  ///< that S named
  std::string replies_;
};

}  // namespace ds::udp_transfer
