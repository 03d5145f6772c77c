#include "getfile/core/http_answer_parser.h"

#include <algorithm>
#include <optional>

#include "common/base/parse.h"
#include "getfile/core/http_text.h"

namespace ds::getfile {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr std::string_view kVersion = "HTTP/1.";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// What the fields say about the end of the message and of the connection.
struct Framing {
  std::optional<std::uint64_t> content_length;
  bool close = false;
  bool keep_alive = false;
};

/// Null, or what is wrong.
const char* ParseField(std::string_view line, Framing* framing) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !IsToken(line.substr(0, colon))) {
    return "a line is not a field";
  }
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = TrimOws(line.substr(colon + 1));
  if (!IsFieldValue(value)) return "a control byte in a field";
  if (EqualsIgnoringCase(name, "content-length")) {
    if (framing->content_length) return "more than one Content-Length";
    framing->content_length = ParseDecimal(value);
    if (!framing->content_length) return "the Content-Length is not a decimal number below 2^64";
  } else if (EqualsIgnoringCase(name, "transfer-encoding")) {
    return "a Transfer-Encoding, which is not supported";
  } else if (EqualsIgnoringCase(name, "connection")) {
    ForEachElement(value, [&](std::string_view option) {
      framing->close |= EqualsIgnoringCase(option, "close");
      framing->keep_alive |= EqualsIgnoringCase(option, "keep-alive");
    });
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
  Framing framing;
  for (std::string_view line = take_line(); !line.empty(); line = take_line()) {
    if (const char* why = ParseField(line, &framing)) return malformed(why);
  }
  const int code = head_.code;
  if (code == 101) return malformed("101, which nobody asked for");
  const bool interim = code < 200;
  if (interim && bytes_ < kHeadBytesMax) return;  // the answer itself is still to come
  if (interim) return malformed("the head is too long");
  const bool bodiless = code == 204 || code == 304;
  if (!bodiless && !framing.content_length) return malformed("no Content-Length");
  head_.length = bodiless ? 0 : *framing.content_length;
  head_.keep_alive = !framing.close && (http_1_1 || framing.keep_alive);
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
