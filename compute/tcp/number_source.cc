#include "compute/tcp/number_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/base/parse.h"
#include "compute/core/prime_connection.h"

namespace ds::compute::tcp {
namespace {

constexpr std::size_t kReadBytes = 65536;
constexpr std::size_t kLineBytesMax = PrimeConnection::kLineBytesMax;

}  // namespace

absl::StatusOr<NumberSource> NumberSource::Open(const std::string& file) {
  if (file == "-") return NumberSource(UniqueFd(::dup(STDIN_FILENO)), "standard input");
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoError(fmt::format("open \"{}\"", file), errno);
  return NumberSource(std::move(fd), fmt::format("\"{}\"", file));
}

absl::StatusOr<NumberSource::Next> NumberSource::Take(Question* question) {
  if (!file_) {
    if (next_ == texts_.size()) return Next::kEnd;
    *question = Ask(texts_[next_++], "");
    return Next::kQuestion;
  }
  for (bool has_read = false;; has_read = true) {
    std::string line;
    while (TakeLine(&line)) {
      if (line.size() <= kLineBytesMax && TrimBlanks(line).empty()) continue;
      *question = Ask(line, fmt::format("{} line {}: ", name_, line_number_));
      return Next::kQuestion;
    }
    if (ended_) return Next::kEnd;
    pollfd fd{file_.get(), POLLIN, 0};
    if (has_read || ::poll(&fd, 1, 0) == 0) return Next::kNotYet;
    buffer_.resize(kReadBytes);
    used_ = 0;
    const ssize_t n = ::read(file_.get(), buffer_.data(), buffer_.size());
    buffer_.resize(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0 && errno != EINTR && errno != EAGAIN) return ErrnoError("read " + name_, errno);
    ended_ = n == 0;
  }
}

/// The next whole line; at the end of the file, what is left.
bool NumberSource::TakeLine(std::string* line) {
  const std::size_t end = buffer_.find('\n', used_);
  const std::string_view part = std::string_view(buffer_).substr(used_, end - used_);
  line_ += part.substr(0, kLineBytesMax + 1 - line_.size());
  used_ = std::min(end, buffer_.size() - 1) + 1;
  if (end == std::string::npos && !(ended_ && !line_.empty())) return false;
  ++line_number_;
  *line = std::exchange(line_, {});
  return true;
}

Question NumberSource::Ask(std::string_view text, const std::string& place) {
  Question question;
  if (text.size() > kLineBytesMax) {
    question.error = place + "longer than 64 bytes";
    return question;
  }
  const auto number = ParseNumber(text);
  if (number.ok()) {
    question.number = *number;
  } else {
    question.error = place + Message(number.status());
  }
  return question;
}

}  // namespace ds::compute::tcp
