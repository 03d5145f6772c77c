#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "getfile/core/protocol.h"

namespace ds::getfile {

/// The HTTP/1.1 side of the server: GET and HEAD of static content, after RFC 9110 and RFC 9112.

/// Reads a whole request head (request line and fields, each line ended by CR LF or LF, the empty
/// line included). Returns 0 and fills `request`, or the status code that refuses it (400, 405,
/// 414, 505), with `request` filled as far as it was understood.
int ParseHttpRequest(std::string_view head, Request* request);

/// What HTTP says about some content beside its length. What is empty is not said. Values come from
/// the source, which has checked that no line ends in them.
struct ContentFields {
  std::string content_type;
  std::string etag;           ///< as it stands in the field: with its quotes, W/ if it is weak
  std::string last_modified;  ///< IMF-fixdate
  std::optional<std::int64_t> modified_unix_s;  ///< the same
  std::string date{};     ///< when an origin said all this, as IMF-fixdate; empty: now
  std::string further{};  ///< field lines, each ended by CR LF: "Cache-Control: max-age=60\r\n"
};

/// The answer to one request: the head (with the text of an error page, if there is one), and which
/// bytes of the content follow.
struct HttpAnswer {
  int code = 500;
  std::string head;
  std::uint64_t body_first = 0;
  std::uint64_t body_length = 0;
};

/// What every answer carries, whatever it is about.
struct HttpContext {
  std::string_view date;      ///< now, as IMF-fixdate
  bool keep_alive = false;    ///< the connection stays open
  std::string_view fields{};  ///< of this answer: field lines, each ended by CR LF
};

/// Content of `length` bytes was found: evaluates the preconditions (RFC 9110 section 13.2.2) and
/// the range (section 14.2): 200, 206, 304, 412 or 416.
HttpAnswer AnswerWithContent(const Request& request, const ContentFields& fields,
                             std::uint64_t length, const HttpContext& context);

/// An answer without content: an error (with its reason as the page), or 301 to `request`'s path
/// with a slash behind it.
HttpAnswer AnswerWithCode(const Request& request, int code, const HttpContext& context);

/// "Not Found" for 404.
const char* HttpReason(int code);

}  // namespace ds::getfile
