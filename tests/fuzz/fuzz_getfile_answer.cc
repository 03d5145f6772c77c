#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "getfile/core/answer.h"

using ds::getfile::AnswerParser;

/// The first byte says how the rest is cut; the result does not depend on it, and no head is long.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = data[0] + 1U;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);

  AnswerParser whole;
  const std::size_t consumed = whole.Feed(bytes);
  CHECK(consumed <= 64);
  AnswerParser cut;
  for (std::size_t at = 0; at < bytes.size(); at += piece) cut.Feed(bytes.substr(at, piece));
  CHECK(whole.state() == cut.state());
  if (whole.state() == AnswerParser::State::kComplete) {
    const auto& answer = whole.answer();
    CHECK(answer.length == cut.answer().length && answer.status == cut.answer().status);
    // Leading zeros are the one thing that is read and not written.
    const std::string again = FormatAnswer(answer.dialect, answer.status, answer.length);
    CHECK(again.size() <= consumed);
  }
  return 0;
}
