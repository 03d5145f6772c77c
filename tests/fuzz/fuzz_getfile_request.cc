#include <algorithm>
#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "getfile/core/request_parser.h"

using ds::getfile::FormatRequest;
using ds::getfile::IsRequestPath;
using ds::getfile::Request;
using ds::getfile::RequestParser;

/// The first byte says how the rest is cut. However it is cut, the result is the same; what was
/// accepted is exactly what FormatRequest() would have written.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = data[0] + 1U;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);

  RequestParser whole;
  const std::size_t consumed = whole.Feed(bytes);
  RequestParser cut;
  std::size_t cut_consumed = 0;
  while (cut_consumed < bytes.size() && cut.state() == RequestParser::State::kIncomplete) {
    const std::string_view part = bytes.substr(cut_consumed, piece);
    const std::size_t n = cut.Feed(part);
    cut_consumed += n;
    if (n < part.size()) break;
  }
  CHECK(whole.state() == cut.state());
  if (whole.state() == RequestParser::State::kComplete) {
    CHECK(consumed == cut_consumed);
    const Request request = whole.TakeRequest();
    if (request.protocol != ds::getfile::Protocol::kGetfile) return 0;  // fuzz_getfile_http's
    CHECK(IsRequestPath(request.path));
    CHECK(FormatRequest(request.path, request.keep_alive) == bytes.substr(0, consumed));
  }
  return 0;
}
