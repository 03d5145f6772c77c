#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "getfile/core/http.h"
#include "getfile/core/request_parser.h"

using ds::getfile::HttpAnswer;
using ds::getfile::RequestParser;

/// The first byte says how the rest is cut; the result does not depend on it. Whatever was accepted
/// gets an answer whose part lies within the content.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t piece = data[0] + 1U;
  const std::uint64_t length = data[1];
  const std::string bytes =
      "GET " + std::string(reinterpret_cast<const char*>(data + 2), size - 2) + "\r\n\r\n";

  RequestParser whole;
  const std::size_t consumed = whole.Feed(bytes);
  RequestParser cut;
  std::size_t cut_consumed = 0;
  while (cut_consumed < bytes.size() && cut.state() == RequestParser::State::kIncomplete) {
    cut_consumed += cut.Feed(std::string_view(bytes).substr(cut_consumed, piece));
  }
  CHECK(whole.state() == cut.state());
  if (whole.state() != RequestParser::State::kComplete) return 0;
  CHECK(consumed == cut_consumed);
  const auto request = whole.TakeRequest();
  CHECK(request.path.starts_with('/') && request.path.find('\0') == std::string::npos);
  const ds::getfile::ContentFields fields{.content_type = "t/t",
                                          .etag = "\"e\"",
                                          .last_modified = "Sun, 06 Nov 1994 08:49:37 GMT",
                                          .modified_unix_s = 784111777};
  const HttpAnswer answer = AnswerWithContent(request, fields, length, {.date = "now"});
  CHECK(answer.body_first + answer.body_length <= length);
  CHECK(answer.head.find("\r\n\r\n") != std::string::npos);
  // Nothing of the request may break out of its line in the answer's head.
  const HttpAnswer redirect = AnswerWithCode(request, 301, {.date = "now"});
  const std::string head = redirect.head.substr(0, redirect.head.find("\r\n\r\n"));
  std::size_t lines = 0;
  for (const char c : head) lines += c == '\n' ? 1U : 0U;
  CHECK(lines == 6);
  return 0;
}
