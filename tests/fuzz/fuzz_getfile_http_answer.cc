#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "getfile/core/http_answer_parser.h"

using ds::getfile::HttpAnswerParser;

namespace {

/// Fed whole and in pieces: the result does not depend on it, and no head is longer than its bound.
HttpAnswerParser Parse(std::string_view bytes, std::size_t piece, HttpAnswerParser::Mode mode) {
  HttpAnswerParser whole(mode);
  const std::size_t consumed = whole.Feed(bytes);
  CHECK(consumed <= HttpAnswerParser::kHeadBytesMax);
  HttpAnswerParser cut(mode);
  std::size_t cut_consumed = 0;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    cut_consumed += cut.Feed(bytes.substr(at, piece));
  }
  CHECK(whole.state() == cut.state());
  if (whole.state() != HttpAnswerParser::State::kComplete) return whole;
  CHECK(consumed == cut_consumed);
  CHECK(bytes.substr(0, consumed).ends_with("\r\n\r\n"));
  const auto& head = whole.head();
  CHECK(head.code == cut.head().code && head.code >= 200);
  CHECK(head.length == cut.head().length && head.length_known == cut.head().length_known);
  CHECK(head.keep_alive == cut.head().keep_alive);
  CHECK(head.etag == cut.head().etag && head.last_modified == cut.head().last_modified);
  CHECK(head.range_first == cut.head().range_first && head.range_total == cut.head().range_total);
  if (head.range_first && head.range_total) CHECK(*head.range_first < *head.range_total);
  return whole;
}

}  // namespace

/// The first byte says how the rest is cut. What serves a measurement frames a download alike.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = data[0] + 1U;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  using State = HttpAnswerParser::State;
  const HttpAnswerParser measure = Parse(bytes, piece, HttpAnswerParser::Mode::kMeasure);
  const HttpAnswerParser download = Parse(bytes, piece, HttpAnswerParser::Mode::kDownload);
  if (measure.state() != State::kComplete) return 0;
  CHECK(measure.head().length_known && measure.head().etag.empty());
  if (download.state() != State::kComplete) return 0;  // a field that only it looks at
  CHECK(download.head().code == measure.head().code);
  CHECK(download.head().length == measure.head().length && download.head().length_known);
  CHECK(download.head().keep_alive == measure.head().keep_alive);
  return 0;
}
