#include "getfile/core/request_parser.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "getfile/core/http.h"

namespace ds::getfile {
namespace {

constexpr std::string_view kScheme = "GETFILE ";
constexpr std::string_view kPrefix = "GET /";
constexpr std::string_view kKeepAlive = "Connection: keep-alive\r\n";

bool IsPathByte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != 0x7f;
}

}  // namespace

const char* Name(AnswerStatus status) {
  switch (status) {
    case AnswerStatus::kOk:
      return "OK";
    case AnswerStatus::kFileNotFound:
      return "FILE_NOT_FOUND";
    case AnswerStatus::kError:
      return "ERROR";
    case AnswerStatus::kInvalid:
      return "INVALID";
  }
  return "?";
}

bool IsRequestPath(std::string_view path) {
  return !path.empty() && path.front() == '/' && path.size() <= kPathBytesMax &&
         std::all_of(path.begin(), path.end(), IsPathByte);
}

std::string FormatRequest(std::string_view path, bool keep_alive) {
  CHECK(IsRequestPath(path));
  std::string bytes = "GETFILE GET ";
  bytes.append(path).append("\r\n");
  if (keep_alive) bytes.append(kKeepAlive);
  return bytes.append("\r\n");
}

RequestParser::State RequestParser::state() const {
  if (step_ == Step::kDone) return State::kComplete;
  return step_ == Step::kInvalid ? State::kInvalid : State::kIncomplete;
}

std::size_t RequestParser::Feed(std::string_view bytes) {
  std::size_t consumed = 0;
  while (consumed < bytes.size() && state() == State::kIncomplete) {
    if (step_ == Step::kHttp) {
      consumed += FeedHttp(bytes.substr(consumed));
      break;
    }
    if (step_ == Step::kPath) {  // the one part of any length goes over in one piece
      const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(consumed);
      const auto end = std::find_if_not(begin, bytes.end(), IsPathByte);
      const auto length = static_cast<std::size_t>(end - begin);
      if (request_.path.size() + length > kPathBytesMax) {
        step_ = Step::kInvalid;
        break;
      }
      request_.path.append(begin, end);
      consumed += length;
      if (end == bytes.end()) break;
    }
    step_ = Next(bytes[consumed]);
    ++consumed;
  }
  return consumed;
}

/// Takes lines up to the empty one.
std::size_t RequestParser::FeedHttp(std::string_view bytes) {
  std::size_t consumed = 0;
  while (consumed < bytes.size()) {
    const std::size_t end = bytes.find('\n', consumed);
    const std::size_t next = end == std::string_view::npos ? bytes.size() : end + 1;
    if (text_.size() + (next - consumed) > kHeaderBytesMax) {
      http_code_ = 431;
      step_ = Step::kInvalid;
      return consumed;
    }
    text_.append(bytes.substr(consumed, next - consumed));
    consumed = next;
    if (end == std::string_view::npos) return consumed;
    const std::string_view line = std::string_view(text_).substr(line_begin_);
    line_begin_ = text_.size();
    if (line == "\r\n" || line == "\n") {
      http_code_ = ParseHttpRequest(text_, &request_);
      step_ = http_code_ == 0 ? Step::kDone : Step::kInvalid;
      return consumed;
    }
  }
  return consumed;
}

/// Decides on the protocol as soon as the bytes allow it.
RequestParser::Step RequestParser::Sniff(char c) {
  text_.push_back(c);
  const std::string_view seen = text_;
  // An empty line in front of a request is ignored by HTTP (RFC 9112 section 2.2), and only there.
  if (seen == "\r") return Step::kSniff;
  if (seen == "\r\n") {
    text_.clear();
    after_empty_line_ = true;
    return Step::kSniff;
  }
  if (!after_empty_line_ && kScheme.starts_with(seen)) {
    return seen == kScheme ? Step::kPrefix : Step::kSniff;
  }
  for (const std::string_view method : {"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ",
                                        "TRACE ", "CONNECT ", "PATCH ", "PRI "}) {
    if (!method.starts_with(seen)) continue;
    if (seen != method) return Step::kSniff;
    request_.protocol = Protocol::kHttp;
    return Step::kHttp;
  }
  return Step::kInvalid;
}

RequestParser::Step RequestParser::Next(char c) {
  switch (step_) {
    case Step::kSniff:
      return Sniff(c);
    case Step::kHttp:
      break;
    case Step::kPrefix:
      if (c != kPrefix[literal_next_]) return Step::kInvalid;
      if (++literal_next_ < kPrefix.size()) return Step::kPrefix;
      request_.path = "/";
      return Step::kPath;
    case Step::kPath:
      return c == '\r' ? Step::kPathLf : Step::kInvalid;
    case Step::kPathLf:
      return c == '\n' ? Step::kBlankOrHeader : Step::kInvalid;
    case Step::kBlankOrHeader:
      if (c == '\r') return Step::kFinalLf;
      literal_next_ = 1;
      return c == kKeepAlive.front() && !request_.keep_alive ? Step::kHeader : Step::kInvalid;
    case Step::kHeader:
      if (c != kKeepAlive[literal_next_]) return Step::kInvalid;
      if (++literal_next_ < kKeepAlive.size()) return Step::kHeader;
      request_.keep_alive = true;
      return Step::kBlankOrHeader;
    case Step::kFinalLf:
      return c == '\n' ? Step::kDone : Step::kInvalid;
    case Step::kDone:
    case Step::kInvalid:
      break;
  }
  CHECK(false, "fed after the end");
}

Request RequestParser::TakeRequest() {
  CHECK(state() == State::kComplete);
  Request request = std::move(request_);
  request_ = Request();
  text_.clear();
  line_begin_ = 0;
  literal_next_ = 0;
  after_empty_line_ = false;
  step_ = Step::kSniff;
  return request;
}

}  // namespace ds::getfile
