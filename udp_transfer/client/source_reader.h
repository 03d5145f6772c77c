#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "udp_transfer/client/source_list.h"
#include "udp_transfer/core/file_sender.h"
#include "udp_transfer/seal/file_digest.h"
#include "udp_transfer/seal/key_schedule.h"

namespace ds::udp_transfer {

/// Turns sources into the client's stream: reads and hashes files as the core's FileSender says.
/// Single threaded; blocks on files.
class SourceReader {
 public:
  struct Result {
    std::size_t source;  ///< its place in the list
    Outcome outcome;
    std::string text;  ///< the name it got, or why not
  };

  SourceReader(std::vector<Source> sources, bool resume, const DigestKey& digest_key);

  /// Bytes of the server's stream. An error: the server breaks the rules.
  absl::Status HandleReplies(std::span<const std::byte> replies);
  /// Writes the next bytes of the stream to the begin of `room`; 0: there is nothing before the
  /// server has answered, or at_end().
  std::size_t Fill(std::span<std::byte> room);

  /// All sources are in the stream.
  bool at_end() const { return at_end_; }
  /// And answered.
  bool all_answered() const { return at_end_ && sender_.all_answered(); }
  /// What became of sources since the last call.
  std::vector<Result> TakeResults();
  /// Sources without a result of which all is in the first `sent` bytes of the stream, in their
  /// order: the server may have stored them.
  std::vector<std::size_t> MayBeStored(std::uint64_t sent) const;
  /// Content that the server had already, of all files.
  std::uint64_t resumed_bytes() const { return resumed_bytes_; }

 private:
  /// Opens the next source; false when there is none.
  bool BeginNext();
  absl::Status Open(const Source& source);
  void ComparePrefix(const FileSender::ComparePrefix& prefix);
  std::size_t ReadContent(const FileSender::Content& content, std::span<std::byte> room);
  /// True if it is what it was: only its end is missing in the stream.
  bool CheckSource();
  /// What follows in the stream behind `stream_bytes` is the end of the present source.
  void NoteEnd(std::uint64_t stream_bytes);

  const std::vector<Source> sources_;
  const bool resume_;
  const DigestKey digest_key_;
  std::string machine_;
  FileSender sender_;
  std::size_t next_ = 0;            ///< source
  std::vector<std::size_t> begun_;  ///< which source a file number stands for
  bool at_end_ = false;
  struct Unanswered {
    std::size_t source;
    std::uint64_t end;  ///< in the stream
  };
  std::deque<Unanswered> unanswered_;  ///< that are in the stream as a whole
  std::uint64_t stream_bytes_ = 0;     ///< before the room that is filled now

  // Of the open file.
  UniqueFd fd_;
  OpenMessage open_;
  FileDigest digest_;

  std::vector<Result> results_;
  std::uint64_t resumed_bytes_ = 0;
};

}  // namespace ds::udp_transfer
