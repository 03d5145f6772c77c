#include "getfile/front/access_log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <iterator>
#include <utility>

#include "common/base/parse.h"

namespace ds::getfile {
namespace {

constexpr std::size_t kFlushBytes = 32U << 10U;
constexpr Duration kFlushInterval = std::chrono::seconds(1);
constexpr Duration kWarningInterval = std::chrono::minutes(1);

std::string RequestLine(const FinishedAnswer& answer) {
  if (answer.path.empty()) return "-";
  // One word either way: GETFILE's paths have no blanks.
  if (answer.protocol == Protocol::kGetfile) {
    return fmt::format("GET {} GETFILE", EscapeBytes(answer.path));
  }
  return fmt::format("{} {} HTTP", answer.head ? "HEAD" : "GET", PercentEncodePath(answer.path));
}

}  // namespace

absl::StatusOr<std::shared_ptr<AccessLogFile>> AccessLogFile::Open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640));
  if (!fd) return ErrnoError(fmt::format("open access log \"{}\"", path), errno);
  return std::shared_ptr<AccessLogFile>(new AccessLogFile(std::move(fd)));
}

bool AccessLogFile::Append(std::string_view lines) {
  while (!lines.empty()) {
    const ssize_t n = ::write(fd_.get(), lines.data(), lines.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    lines.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

AccessLog::~AccessLog() {
  Flush();
  loop_->Cancel(this);
}

void AccessLog::Add(const std::string& peer, const FinishedAnswer& answer) {
  if (file_ == nullptr) return;
  const std::int64_t now = std::time(nullptr);
  if (now != stamp_second_) {
    stamp_second_ = now;
    stamp_ = fmt::format("{:%d/%b/%Y:%H:%M:%S +0000}", fmt::gmtime(now));
  }
  fmt::format_to(std::back_inserter(buffer_), "{} - - [{}] \"{}\" {} {} {:.6f}\n", peer, stamp_,
                 RequestLine(answer), answer.http_code, answer.body_sent,
                 ToSeconds(answer.elapsed));
  ++buffered_lines_;
  if (buffer_.size() >= kFlushBytes) return Flush();
  if (!armed()) loop_->Arm(this, loop_->now() + kFlushInterval);
}

void AccessLog::SetFile(std::shared_ptr<AccessLogFile> file) {
  Flush();
  file_ = std::move(file);
}

void AccessLog::Flush() {
  if (buffer_.empty()) return;
  if (!file_->Append(buffer_)) {
    lines_lost_.Add(buffered_lines_);
    if (loop_->now() - warning_time_ >= kWarningInterval) {
      spdlog::warn("access log: {} lines lost so far: {}", lines_lost_.Get(), ErrnoText(errno));
      warning_time_ = loop_->now();
    }
  }
  buffer_.clear();
  buffered_lines_ = 0;
}

}  // namespace ds::getfile
