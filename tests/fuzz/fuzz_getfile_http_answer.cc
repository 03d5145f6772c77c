#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "getfile/core/http_answer_parser.h"

using ds::getfile::HttpAnswerParser;

/// The first byte says how the rest is cut; the result does not depend on it, and no head is longer
/// than its bound.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = data[0] + 1U;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);

  HttpAnswerParser whole;
  const std::size_t consumed = whole.Feed(bytes);
  CHECK(consumed <= HttpAnswerParser::kHeadBytesMax);
  HttpAnswerParser cut;
  std::size_t cut_consumed = 0;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    cut_consumed += cut.Feed(bytes.substr(at, piece));
  }
  CHECK(whole.state() == cut.state());
  if (whole.state() != HttpAnswerParser::State::kComplete) return 0;
  CHECK(consumed == cut_consumed);
  CHECK(bytes.substr(0, consumed).ends_with("\r\n\r\n"));
  CHECK(whole.head().code == cut.head().code && whole.head().code >= 200);
  CHECK(whole.head().length == cut.head().length);
  CHECK(whole.head().keep_alive == cut.head().keep_alive);
  return 0;
}
