#include "getfile/core/http_answer_parser.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "common/base/parse.h"
#include "getfile/core/http_text.h"

namespace ds::getfile {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr std::string_view kVersion = "HTTP/1.";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// "bytes 5-9/10" or "bytes */10" (RFC 9110 section 14.4); another unit says nothing to us.
const char* TakeContentRange(std::string_view value, HttpAnswerHead* head) {
  constexpr std::string_view kUnit = "bytes ";
  if (!EqualsIgnoringCase(value.substr(0, kUnit.size()), kUnit)) return nullptr;
  value.remove_prefix(kUnit.size());
  const std::size_t slash = value.find('/');
  const std::string_view range = value.substr(0, slash);
  const std::size_t dash = range.find('-');
  if (slash == std::string_view::npos || (dash == std::string_view::npos && range != "*")) {
    return "the Content-Range is not one";
  }
  const std::string_view total = value.substr(slash + 1);
  head->range_total = ParseDecimal(total);
  if (!head->range_total && total != "*") return "the Content-Range has no length";
  if (dash == std::string_view::npos) return nullptr;
  head->range_first = ParseDecimal(range.substr(0, dash));
  const auto last = ParseDecimal(range.substr(dash + 1));
  const bool ordered = head->range_first && last && *head->range_first <= *last &&
                       *last < head->range_total.value_or(UINT64_MAX);
  if (!ordered) return "the Content-Range does not fit together";
  head->range_length = *last - *head->range_first + 1;
  return nullptr;
}

/// Null, or what is wrong.
const char* TakeDescription(const FieldLine& field, HttpAnswerHead* head) {
  const auto take = [&](std::string* once) {
    if (!once->empty()) return false;
    *once = field.value;
    return true;
  };
  if (field.Is("etag") && !take(&head->etag)) return "more than one ETag";
  if (field.Is("last-modified") && !take(&head->last_modified))
    return "more than one Last-Modified";
  if (field.Is("content-range")) {
    if (head->range_first || head->range_total) return "more than one Content-Range";
    return TakeContentRange(field.value, head);
  }
  return nullptr;
}

}  // namespace

std::size_t HttpAnswerParser::Feed(std::string_view bytes) {
  std::size_t consumed = 0;
  while (consumed < bytes.size() && state_ == State::kIncomplete) {
    const std::string_view rest = bytes.substr(consumed, kHeadBytesMax - bytes_);
    // The end of the head may have begun in the piece before.
    const std::size_t overlap = std::min(text_.size(), kHeadEnd.size() - 1);
    std::size_t end = std::string_view::npos;
    if (overlap > 0) {
      std::string seam = text_.substr(text_.size() - overlap);
      seam += rest.substr(0, kHeadEnd.size() - 1);
      if (const auto at = seam.find(kHeadEnd); at != std::string::npos) {
        end = at + kHeadEnd.size() - overlap;
      }
    }
    if (end == std::string_view::npos) {
      if (const auto at = rest.find(kHeadEnd); at != std::string_view::npos) {
        end = at + kHeadEnd.size();
      }
    }
    const std::size_t taken = std::min(end, rest.size());
    bytes_ += taken;
    consumed += taken;
    if (end != std::string_view::npos && text_.empty()) {  // the usual case: nothing is copied
      Parse(rest.substr(0, taken));
      continue;
    }
    text_ += rest.substr(0, taken);
    if (end != std::string_view::npos) {
      Parse(text_);
      text_.clear();
    } else if (const std::size_t n = std::min(text_.size(), kVersion.size());
               std::string_view(text_).substr(0, n) != kVersion.substr(0, n)) {
      // At once, since such a peer may never send an empty line.
      state_ = State::kMalformed;
      reason_ = "it does not begin with HTTP/1.";
    } else if (bytes_ == kHeadBytesMax) {
      state_ = State::kMalformed;
      reason_ = "the head is too long";
    }
  }
  return consumed;
}

void HttpAnswerParser::Parse(std::string_view text) {
  const auto malformed = [this](const char* why) {
    state_ = State::kMalformed;
    reason_ = why;
  };
  const auto take_line = [&text] {
    const std::size_t end = text.find(kLineEnd);
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + kLineEnd.size());
    return line;
  };
  bool http_1_1 = false;
  if (const char* why = ParseStatusLine(take_line(), &http_1_1)) return malformed(why);
  const int code = head_.code;
  head_ = {};  // without what an interim answer has said
  head_.code = code;
  Framing framing;
  for (std::string_view line = take_line(); !line.empty(); line = take_line()) {
    FieldLine field;
    if (const char* why = SplitField(line, &field)) return malformed(why);
    if (const char* why = TakeFraming(field, &framing)) return malformed(why);
    if (mode_ == Mode::kMeasure) continue;
    if (const char* why = TakeDescription(field, &head_)) return malformed(why);
  }
  if (framing.encoded && mode_ == Mode::kMeasure) {
    return malformed("a Transfer-Encoding, which is not supported");
  }
  if (code == 101) return malformed("101, which nobody asked for");
  const bool interim = code < 200;
  if (interim && bytes_ < kHeadBytesMax) return;  // the answer itself is still to come
  if (interim) return malformed("the head is too long");
  const bool bodiless = code == 204 || code == 304;
  // Where both are given the encoding counts (RFC 9112 section 6.3).
  head_.length_known = bodiless || (framing.content_length && !framing.encoded);
  if (!head_.length_known && mode_ == Mode::kMeasure) return malformed("no Content-Length");
  head_.length = bodiless || !head_.length_known ? 0 : *framing.content_length;
  head_.keep_alive =
      !framing.close && (http_1_1 || framing.keep_alive) && (head_.length_known || framing.encoded);
  state_ = State::kComplete;
}

const char* HttpAnswerParser::ParseStatusLine(std::string_view line, bool* http_1_1) {
  // HTTP/1.1 200 OK; some servers leave out the reason and the blank in front of it.
  if (!line.starts_with(kVersion)) return "it does not begin with HTTP/1.";
  line.remove_prefix(kVersion.size());
  const bool shaped = line.size() >= 5 && IsDigit(line[0]) && line[1] == ' ' &&
                      std::all_of(line.begin() + 2, line.begin() + 5, IsDigit) &&
                      (line.size() == 5 || line[5] == ' ') && IsFieldValue(line.substr(5));
  if (!shaped) return "wrong bytes in the status line";
  *http_1_1 = line[0] != '0';
  head_.code = (line[2] - '0') * 100 + (line[3] - '0') * 10 + (line[4] - '0');
  if (head_.code < 100 || head_.code > 599) return "a status code that does not exist";
  return nullptr;
}

void HttpAnswerParser::Reset() {
  state_ = State::kIncomplete;
  text_.clear();
  bytes_ = 0;
  head_ = {};
  reason_ = "";
}

}  // namespace ds::getfile
