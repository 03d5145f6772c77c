#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/base/counter.h"
#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "getfile/core/server_connection.h"

namespace ds::getfile {

/// An access log file, shared by the workers; every write is one of whole lines, appended.
class AccessLogFile {
 public:
  static absl::StatusOr<std::shared_ptr<AccessLogFile>> Open(const std::string& path);
  /// False when the lines could not be written (a full disk).
  bool Append(std::string_view lines);

 private:
  explicit AccessLogFile(UniqueFd fd) : fd_(std::move(fd)) {}
  const UniqueFd fd_;
};

/// One worker's lines on their way to the file, in Common Log Format with the seconds appended:
///
///   127.0.0.1 - - [31/Jan/2026:12:00:00 +0000] "GET /a/b GETFILE" 200 1234 0.000123
///
/// GETFILE answers have the HTTP code of the same meaning, which log tools understand.
/// Written at 32 KiB or after a second. Lines that the disk does not take are dropped, counted, and
/// warned of once a minute.
class AccessLog final : private net::EventLoop::Timer {
 public:
  /// `file` may be null: no log.
  AccessLog(net::EventLoop* loop, std::shared_ptr<AccessLogFile> file)
      : loop_(loop), file_(std::move(file)) {}
  ~AccessLog() override;

  void Add(const std::string& peer, const FinishedAnswer& answer);
  /// After a rotation: what was collected goes to the old file.
  void SetFile(std::shared_ptr<AccessLogFile> file);

  bool enabled() const { return file_ != nullptr; }
  const Counter& lines_lost() const { return lines_lost_; }

 private:
  void Flush();
  void OnTimer() override { Flush(); }

  net::EventLoop* const loop_;
  std::shared_ptr<AccessLogFile> file_;
  std::string buffer_;
  std::uint64_t buffered_lines_ = 0;
  std::int64_t stamp_second_ = -1;
  std::string stamp_;  ///< of stamp_second_
  Counter lines_lost_;
  TimePoint warning_time_{};
};

}  // namespace ds::getfile
