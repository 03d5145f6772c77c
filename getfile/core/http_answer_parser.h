#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ds::getfile {

/// The head of an HTTP answer, as far as a client needs it that fetches files by GET.
struct HttpAnswerHead {
  int code = 0;
  std::uint64_t length = 0;  ///< of the body, bytes
  bool keep_alive = false;   ///< the connection can carry another request

  // In Mode::kDownload only:
  bool length_known = true;   ///< else the body ends with its last chunk or with the connection
  std::string etag;           ///< as it stands, weak ones too; empty: there is none
  std::string last_modified;  ///< as it stands
  std::optional<std::uint64_t> range_first;  ///< of a Content-Range in bytes that names a part
  std::uint64_t range_length = 0;            ///< of that part
  std::optional<std::uint64_t> range_total;  ///< of a Content-Range in bytes: the whole length
};

/// Reads the head of one HTTP/1 answer (RFC 9112) from a byte stream that may be split anywhere.
/// Interim answers (1xx) in front of it are skipped. Strict: lines end with CR LF. A value, single
/// threaded.
class HttpAnswerParser {
 public:
  enum class Mode {
    /// For a measurement: a body needs a Content-Length; one that is chunked, or ends with the
    /// connection, is malformed, for it could not be checked. Says how the message ends, no more.
    kMeasure,
    /// For files that are kept: any body will do, and the head says what was sent.
    kDownload,
  };
  explicit HttpAnswerParser(Mode mode = Mode::kMeasure) : mode_(mode) {}

  /// Of one head, and of all the interim ones in front of it together.
  static constexpr std::size_t kHeadBytesMax = 16384;

  enum class State { kIncomplete, kComplete, kMalformed };

  /// Consumes bytes up to the end of the head, or what it has when the head is malformed; returns
  /// how many. What is malformed is known at the end of the head at the latest.
  std::size_t Feed(std::string_view bytes);

  State state() const { return state_; }
  bool started() const { return bytes_ > 0; }
  /// REQUIRES: kComplete.
  const HttpAnswerHead& head() const { return head_; }
  /// Why it is malformed, for a message. REQUIRES: kMalformed.
  std::string_view malformed_because() const { return reason_; }

  /// Begins with the next answer.
  void Reset();

 private:
  /// A whole head, with its empty line.
  void Parse(std::string_view text);
  /// Null, or what is wrong.
  const char* ParseStatusLine(std::string_view line, bool* http_1_1);

  Mode mode_;
  State state_ = State::kIncomplete;
  std::string text_;       ///< of a head that came in pieces
  std::size_t bytes_ = 0;  ///< consumed since Reset()
  HttpAnswerHead head_;
  const char* reason_ = "";
};

}  // namespace ds::getfile
