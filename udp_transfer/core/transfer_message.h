#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

// The messages inside the streams of fast mode (ARCHITECTURE.md, "Inside the streams"): how they
// are written, and readers that take them from a stream cut anywhere.
//
//   RequestReader reader;                       // at the server; ReplyReader at the client
//   while (!bytes.empty()) {
//     auto step = reader.Next(bytes);           // at most one message, or a piece of a block
//     bytes = bytes.subspan(step.consumed);
//     …step.event…
//   }

namespace ds::udp_transfer {

enum class EntryKind : std::uint8_t { kFile = 0, kFolder = 1 };

/// `O`: begins a file, or is all there is of a folder.
struct OpenMessage {
  std::uint32_t number = 0;  ///< 0, 1, 2 … in the order of the stream
  EntryKind kind = EntryKind::kFile;
  bool resume = false;
  std::uint64_t size = 0;     ///< bytes; 0 of a folder
  std::int64_t mtime_ns = 0;  ///< since 1970
  std::uint32_t mode = 0;     ///< permission bits, at most 07777
  std::array<std::byte, 16> identity{};
  std::string name;

  friend bool operator==(const OpenMessage&, const OpenMessage&) = default;
};

/// `F`: blocks begin at this offset.
struct FromMessage {
  std::uint64_t offset = 0;
  friend bool operator==(const FromMessage&, const FromMessage&) = default;
};

/// A piece of the content, in order: a part of a `B`.
struct BlockBytes {
  std::span<const std::byte> bytes;
};

/// `E`: the content is complete.
struct EndMessage {
  std::string digest;  ///< FileDigest::Value() of the whole file
  friend bool operator==(const EndMessage&, const EndMessage&) = default;
};

/// `X`: the client gives this file up.
struct AbortMessage {
  std::string text;
  friend bool operator==(const AbortMessage&, const AbortMessage&) = default;
};

/// `S`: how much of a file that is to be resumed is there.
struct StartMessage {
  std::uint32_t number = 0;
  std::uint64_t offset = 0;
  std::string digest;  ///< of that many bytes; empty at 0
  friend bool operator==(const StartMessage&, const StartMessage&) = default;
};

enum class Outcome : std::uint8_t {
  kStored = 0,    ///< under the name in the text
  kRefused = 1,   ///< name, size or a limit; the file exists: nothing was written
  kFailed = 2,    ///< the server's disk
  kCorrupt = 3,   ///< the digest is another one
  kAborted = 4,   ///< the client said so
  kReplaced = 5,  ///< another connection has taken this transfer over
};

/// `D`: what became of a file.
struct DoneMessage {
  std::uint32_t number = 0;
  Outcome outcome = Outcome::kStored;
  std::string text;
  friend bool operator==(const DoneMessage&, const DoneMessage&) = default;
};

/// The stream breaks the rules from here on: every further Next() says so again.
struct Malformed {
  std::string_view why;
};

/// Everything of the stream so far has been said.
struct NeedBytes {};

inline constexpr std::size_t kTextBytesMax = 4352;  ///< of X and D; a name and some more
inline constexpr std::uint64_t kFileBytesMax = (std::uint64_t{1} << 63U) - 1;

// Each appends one message to `out`. Texts are cut to kTextBytesMax.
void AppendTo(std::string* out, const OpenMessage& message);
void AppendTo(std::string* out, const FromMessage& message);
void AppendTo(std::string* out, const EndMessage& message);
void AppendTo(std::string* out, const AbortMessage& message);
void AppendTo(std::string* out, const StartMessage& message);
void AppendTo(std::string* out, const DoneMessage& message);
/// The head of a `B`: `length` bytes of content have to follow. REQUIRES: length > 0.
void AppendBlockHead(std::string* out, std::uint32_t length);

/// Collects the head of a message from pieces. Bounded by the longest message.
class MessageHead {
 public:
  /// Moves bytes from the front of `bytes` until `size` are there; true when they are.
  bool Fill(std::span<const std::byte>* bytes, std::size_t size);
  std::string_view text() const { return text_; }
  void Clear() { text_.clear(); }

 private:
  std::string text_;
};

/// The client's stream, at the server. Checks the grammar: file numbers count up, only what may
/// follow follows, blocks are not empty and make up exactly the announced size. Names and offsets
/// of resumed files are for its user to check. A value, single threaded.
class RequestReader {
 public:
  using Event = std::variant<NeedBytes, OpenMessage, FromMessage, BlockBytes, EndMessage,
                             AbortMessage, Malformed>;
  struct Step {
    std::size_t consumed;
    Event event;
  };

  /// Takes at most one message, or piece of a block, off the front of `bytes`.
  Step Next(std::span<const std::byte> bytes);

  /// No file is begun and no message either: here the stream may end.
  bool at_end() const { return expected_ == Expected::kOpen && head_.text().empty(); }

 private:
  enum class Expected {
    kOpen,     ///< O
    kFrom,     ///< F or X
    kContent,  ///< B, E or X
    kNothing,  ///< malformed
  };

  Event Parse(std::span<const std::byte>* bytes);
  Event ParseOpen(std::span<const std::byte>* bytes);
  Event Complain(std::string_view why);

  MessageHead head_;
  Expected expected_ = Expected::kOpen;
  std::uint32_t next_number_ = 0;
  std::uint64_t rest_ = 0;        ///< of the file, bytes that no block has announced
  std::uint64_t block_rest_ = 0;  ///< of the block
  std::string_view why_;
};

/// The server's stream, at the client. Which number may be answered how is for its user to check. A
/// value, single threaded.
class ReplyReader {
 public:
  using Event = std::variant<NeedBytes, StartMessage, DoneMessage, Malformed>;
  struct Step {
    std::size_t consumed;
    Event event;
  };

  /// Takes at most one message off the front of `bytes`.
  Step Next(std::span<const std::byte> bytes);

  bool at_end() const { return why_.empty() && head_.text().empty(); }

 private:
  Event Parse(std::span<const std::byte>* bytes);
  Event Complain(std::string_view why);

  MessageHead head_;
  std::string_view why_;
};

}  // namespace ds::udp_transfer
