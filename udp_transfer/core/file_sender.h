#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/status.h"
#include "udp_transfer/core/transfer_message.h"

namespace ds::udp_transfer {

/// The client's side of the transfer protocol: says what to put into the client's stream next, and
/// understands the server's. Knows nothing of the content: its user reads files straight into the
/// stream and keeps the digest. Single threaded: the thread that reads files owns it, and the
/// server's stream is brought to it.
///
///   sender.Begin(open);
///   for (;;) {
///     auto action = sender.Next();
///     …execute it as far as the stream has room, and call what stands at it, nothing else before…
///     …then, if the server's stream has bytes: HandleReplies(), TakeResults()…
///   }
///   …no more files: end the stream at Idle; all is done when all_answered()…
class FileSender {
 public:
  /// A block is announced before it is read, so a source that shrinks is made up with zeros to the
  /// end of its block before it is given up.
  static constexpr std::uint32_t kBlockBytes = 256 * 1024;
  /// Files whose D is still to come, before Next() waits.
  static constexpr std::size_t kUnansweredMax = 4096;

  /// These bytes. Written(n).
  struct Bytes {
    std::string_view bytes;
  };
  /// File content from `offset`, at most `length` bytes, which go into the digest: Written(n), or
  /// SourceChanged().
  struct Content {
    std::uint64_t offset;
    std::uint64_t length;
  };
  /// Whether the first `offset` bytes of the source have this digest. PrefixCompared() or
  /// SourceChanged(). The digest goes on behind them if they have, else it begins anew.
  struct ComparePrefix {
    std::uint64_t offset;
    std::string digest;
  };
  /// All content is in the stream: Finished() with its digest, unless the source is no longer what
  /// it was at Begin(): SourceChanged().
  struct CheckSource {};
  /// Nothing before the server has answered something.
  struct WaitForReply {};
  /// No file is open: Begin() the next one.
  struct Idle {};
  using Action = std::variant<Idle, Bytes, Content, ComparePrefix, CheckSource, WaitForReply>;

  struct Result {
    std::uint32_t number;
    Outcome outcome;
    std::string text;
  };

  /// A file or folder; its number is set here and returned. REQUIRES: Next() is Idle.
  std::uint32_t Begin(OpenMessage open);

  Action Next() const;
  void Written(std::size_t bytes);
  void PrefixCompared(bool same);
  void Finished(std::string digest);
  void SourceChanged(std::string why);

  /// Bytes of the server's stream, cut anywhere; kInvalidArgument: a server that breaks the rules.
  absl::Status HandleReplies(std::span<const std::byte> bytes);
  /// What became of files, in the order of their numbers. A file that the server gave up before its
  /// end has its result while it is still open; Next() then leads to Idle without asking for more
  /// content.
  std::vector<Result> TakeResults();

  bool all_answered() const { return answered_ == begun_; }
  /// Where the content of the open file began: bytes that the server had already.
  std::uint64_t resumed_bytes() const { return resumed_; }

 private:
  enum class State {
    kIdle,
    kWaitStart,  ///< O with resume was sent
    kComparing,  ///< S has come
    kContent,
    kCheckSource,
    kGivingUp,  ///< the rest of a block is made up, then X
  };

  /// After a block, or what stands for none: what comes next.
  void NextBlock();
  void GiveUp(std::string why);
  void NextZeros();
  absl::Status Handle(const StartMessage& start);
  absl::Status Handle(const DoneMessage& done);

  State state_ = State::kIdle;
  std::uint32_t begun_ = 0;     ///< numbers so far
  std::uint32_t answered_ = 0;  ///< of them with their D
  std::string bytes_;           ///< to be written before anything else
  std::size_t bytes_written_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t offset_ = 0;      ///< of the next content byte
  std::uint32_t block_rest_ = 0;  ///< announced, not yet written
  std::uint64_t resumed_ = 0;
  StartMessage start_;
  std::string why_;  ///< for X
  ReplyReader replies_;
  std::vector<Result> results_;
};

}  // namespace ds::udp_transfer
