#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "compute/core/prime_answer_parser.h"

using ds::compute::PrimeAnswer;
using ds::compute::PrimeAnswerParser;

namespace {

std::string Parse(std::string_view bytes, std::size_t piece) {
  PrimeAnswerParser parser;
  std::string found;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    std::string_view part = bytes.substr(at, piece);
    while (const auto answer = parser.Take(&part)) {
      CHECK(answer->text.size() <= PrimeAnswerParser::kAnswerBytesMax + 1);
      found += std::to_string(static_cast<int>(answer->kind)) + answer->text + '|';
      if (answer->kind == PrimeAnswer::Kind::kMalformed) return found;
    }
  }
  if (const auto answer = parser.End()) found += answer->text;
  return found;
}

}  // namespace

/// However a server's bytes are cut, the same answers are found in them.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string whole = Parse(input, size + 1);
  CHECK(Parse(input, 1) == whole);
  CHECK(Parse(input, 5) == whole);
  return 0;
}
