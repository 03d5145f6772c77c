#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/time.h"
#include "getfile/core/http.h"
#include "getfile/core/protocol.h"
#include "getfile/core/request_parser.h"

namespace ds::getfile {

/// What a source of content says to a request.
struct LookupAnswer {
  AnswerStatus status = AnswerStatus::kError;  ///< never kInvalid
  std::uint64_t length = 0;                    ///< of the body, bytes; counts for kOk only
  /// What HTTP says about the content; set for kOk. Read during HandleLookup() only.
  const ContentFields* fields = nullptr;
  /// With kFileNotFound: the path names a folder, which HTTP redirects to its slash.
  bool is_folder = false;
  /// The HTTP code of an answer that is not kOk; 0: 404 or 500, as the status says. REQUIRES: one
  /// that NearestStatus() takes for `status`.
  int http_code = 0;
  /// What HTTP says about this one answer, whatever its status: field lines, each ended by CR LF,
  /// as "X-Cache: HIT\r\nAge: 7\r\n". Read during HandleLookup() only.
  std::string_view http_fields{};
};

/// The status that comes nearest to a code of HTTP.
AnswerStatus NearestStatus(int http_code);

/// An answer that is over, for counters and the access log.
struct FinishedAnswer {
  Protocol protocol = Protocol::kGetfile;
  bool head = false;                           ///< the method was HEAD
  std::string path;                            ///< empty when the request was invalid
  AnswerStatus status = AnswerStatus::kError;  ///< or what is nearest to the HTTP code
  int http_code = 0;                           ///< or what is nearest to the status
  std::uint64_t body_length = 0;
  std::uint64_t body_sent = 0;  ///< less than body_length: broken off
  Duration elapsed{};           ///< from the end of the request's header
};

/// The server's side of one connection, without the socket: which bytes are read, in which
/// protocol, when a lookup is asked for, what is sent, and every time limit. The shell looks at
/// phase(), does what it says, and reports what happened; there is nothing else it has to decide.
/// Deadline-driven, single threaded.
class ServerConnection {
 public:
  struct Options {
    Dialect dialect = Dialect::kStandard;  ///< of GETFILE answers
    /// The Date of HTTP answers (IMF-fixdate), kept current by the shell; must outlive the
    /// connection. Null: "Thu, 01 Jan 1970 00:00:00 GMT".
    const std::string* http_date = nullptr;
    /// For a whole header, from the accept or from the last answer on, however it trickles in.
    Duration header_timeout = std::chrono::seconds(10);
    /// Without progress in an answer.
    Duration progress_timeout = std::chrono::seconds(30);
    /// For the peer to close after the last answer; what it still sends meanwhile is discarded, so
    /// that no reset destroys bytes in flight.
    Duration drain_time = std::chrono::seconds(2);
  };

  enum class Phase {
    kReading,   ///< read, HandleBytes() or HandleEndOfInput()
    kLookup,    ///< look request() up, HandleLookup()
    kSending,   ///< send head_left(), then the body from body_offset() on, HandleSent()
    kAwaiting,  ///< the source has to bring more of the body, HandleBodyGrown()
    kDraining,  ///< shut the sending side down; read as in kReading
    kClosed,    ///< close, with a reset if reset()
  };

  enum class End {  ///< why it closed
    kDone,
    kHeaderTimeout,
    kProgressTimeout,
    kPeerGone,      ///< reset, or closed in the middle of something
    kSourceBroken,  ///< the body could not be read to its end
  };

  /// `options` must outlive the connection. A connection with `refuse` (there are too many) reads
  /// its request like any other, within a second, and answers ERROR.
  ServerConnection(const Options* options, TimePoint now, bool refuse = false);

  /// REQUIRES: kReading or kDraining.
  void HandleBytes(std::string_view bytes, TimePoint now);
  /// `unacknowledged`: bytes sent that the peer's kernel has not acknowledged.
  void HandleEndOfInput(std::uint64_t unacknowledged, TimePoint now);
  /// REQUIRES: kLookup.
  void HandleLookup(const LookupAnswer& answer, TimePoint now);
  /// `bytes` of head and body have been given to the kernel. REQUIRES: kSending.
  void HandleSent(std::uint64_t bytes, TimePoint now);
  /// All that is there of the body was sent, and more will come. From here to the end of the answer
  /// the peer makes progress only by acknowledging bytes; while it has acknowledged all of them,
  /// the source alone is late, which has limits of its own. REQUIRES: kSending, body_left() > 0.
  void HandleBodyLate();
  /// More of it is there, or it is known that no more will come. REQUIRES: kAwaiting.
  void HandleBodyGrown();
  /// The source has no more bytes than were sent so far. REQUIRES: kSending or kAwaiting.
  void HandleSourceBroken(TimePoint now);
  /// Reading or writing failed.
  void HandlePeerGone(TimePoint now);
  /// The deadline has passed. `unacknowledged`: bytes sent that the peer's kernel has not
  /// acknowledged; as long as they become fewer, the peer makes progress.
  void HandleTimeout(std::uint64_t unacknowledged, TimePoint now);
  /// The server shuts down: no further request after the one under way. Closed if there is none;
  /// half a header is answered INVALID.
  void BeginShutdown(TimePoint now);

  Phase phase() const { return phase_; }
  /// None in kLookup (the source keeps its own time) and kClosed.
  std::optional<TimePoint> NextDeadline() const { return deadline_; }

  /// REQUIRES: kLookup.
  const Request& request() const { return request_; }
  /// The rest of the answer. REQUIRES: kSending or kAwaiting.
  std::string_view head_left() const { return std::string_view(head_).substr(head_sent_); }
  std::uint64_t body_offset() const { return body_first_ + body_sent_; }
  std::uint64_t body_left() const { return body_length_ - body_sent_; }
  /// The connection ends after this answer. REQUIRES: kSending or kAwaiting.
  bool last_answer() const { return last_answer_; }
  /// REQUIRES: kClosed.
  bool reset() const { return reset_; }
  End end() const { return end_; }

  /// The answer that ended since the last call, if one did. Look after each Handle…().
  std::optional<FinishedAnswer> TakeFinished();

 private:
  void ReadRequest(TimePoint now);
  void BeginAnswer(AnswerStatus status, std::uint64_t length, TimePoint now);
  void BeginHttpAnswer(HttpAnswer answer, TimePoint now);
  void Refuse(AnswerStatus status, int http_code, TimePoint now);
  HttpContext http_context(std::string_view fields = {}) const;
  bool InAnswer() const { return phase_ == Phase::kSending || phase_ == Phase::kAwaiting; }
  bool KeepsAlive() const { return request_.keep_alive && !refuse_ && !shutting_down_; }
  void EndAnswer(TimePoint now);
  void BeginDraining(TimePoint now);
  void RecordFinished(TimePoint now);
  void NoteProgress(TimePoint now);
  void CheckSoon(TimePoint now);
  bool PeerIsStuck(std::uint64_t unacknowledged, TimePoint now);
  void Close(End end, bool reset);

  const Options* options_;
  bool refuse_;
  bool shutting_down_ = false;
  bool reset_ = false;
  Phase phase_ = Phase::kReading;
  End end_ = End::kDone;
  AnswerStatus status_ = AnswerStatus::kError;
  int http_code_ = 0;
  bool last_answer_ = false;  ///< the connection ends after this one
  std::optional<TimePoint> deadline_;
  RequestParser parser_;
  std::string pipelined_;  ///< read with a request, belongs to the next ones; at most one read long
  Request request_;
  TimePoint request_time_;
  std::string head_;
  std::size_t head_sent_ = 0;
  std::uint64_t body_first_ = 0;
  std::uint64_t body_length_ = 0;
  std::uint64_t body_sent_ = 0;
  bool body_was_late_ = false;  ///< in this answer
  TimePoint progress_time_;
  std::uint64_t sent_total_ = 0;    ///< in the connection's life
  std::uint64_t acknowledged_ = 0;  ///< of those, at the last look
  std::optional<FinishedAnswer> finished_;
};

}  // namespace ds::getfile
