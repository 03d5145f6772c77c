#include "getfile/core/http.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/http_date.h"
#include "common/base/parse.h"
#include "getfile/core/http_text.h"

namespace ds::getfile {
namespace {

constexpr int kOk = 0;

/// The next line without its end, taken off the front of `rest`.
std::string_view TakeLine(std::string_view* rest) {
  const std::size_t end = rest->find('\n');
  std::string_view line = rest->substr(0, end);
  rest->remove_prefix(end == std::string_view::npos ? rest->size() : end + 1);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = Lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/// Percent-decodes a path; nothing when an escape is broken or stands for NUL.
std::optional<std::string> DecodePath(std::string_view text) {
  std::string path;
  path.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = HexValue(text[i + 1]);
      const int low = HexValue(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return std::nullopt;
    path.push_back(c);
  }
  return path;
}

int ParseTarget(std::string_view target, Request* request) {
  // Visible ASCII and bytes above it (which no strict client sends, and every server takes).
  for (const char c : target) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7f) return 400;
  }
  if (!target.starts_with('/')) {  // absolute-form, RFC 9112 section 3.2.2
    const std::size_t scheme = target.find("://");
    if (scheme == std::string_view::npos ||
        !(EqualsIgnoringCase(target.substr(0, scheme), "http") ||
          EqualsIgnoringCase(target.substr(0, scheme), "https"))) {
      return 400;
    }
    target.remove_prefix(scheme + 3);
    const std::size_t slash = target.find_first_of("/?");
    if (slash == 0) return 400;
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  target = target.substr(0, target.find('#'));
  const std::size_t question = target.find('?');
  if (question != std::string_view::npos) request->query = target.substr(question);
  auto path = DecodePath(target.substr(0, question));
  if (!path) return 400;
  if (path->empty()) *path = "/";
  if (path->size() > kPathBytesMax) return 414;
  request->path = std::move(*path);
  return kOk;
}

int ParseField(std::string_view line, Request* request, Framing* framing, int* hosts) {
  FieldLine field;
  if (SplitField(line, &field) != nullptr) return 400;
  const auto append = [&](std::string* list) {
    if (!list->empty()) list->append(", ");
    list->append(field.value);
  };
  switch (Lower(field.name.front())) {
    case 'h':
      if (field.Is("host")) ++*hosts;
      break;
    case 'c':
    case 't':
      if (TakeFraming(field, framing) != nullptr) return 400;
      break;
    case 'r':
      // Two Range fields become a list, which is answered with the whole file.
      if (field.Is("range")) append(&request->conditions.range);
      break;
    case 'i':
      if (field.Is("if-none-match")) append(&request->conditions.if_none_match);
      if (field.Is("if-match")) append(&request->conditions.if_match);
      if (field.Is("if-range")) request->conditions.if_range = field.value;
      // A date that cannot be read is as if it were not there (section 13.1.3).
      if (field.Is("if-modified-since")) {
        request->conditions.if_modified_since = ParseHttpDate(field.value);
      }
      if (field.Is("if-unmodified-since")) {
        request->conditions.if_unmodified_since = ParseHttpDate(field.value);
      }
      break;
    default:
      break;
  }
  return kOk;
}

std::string_view WithoutWeakPrefix(std::string_view tag) {
  if (tag.starts_with("W/")) tag.remove_prefix(2);
  return tag;
}

bool AnyTagMatches(std::string_view list, std::string_view etag, bool weak) {
  bool match = false;
  ForEachElement(list, [&](std::string_view tag) {
    match |= tag == "*" || tag == etag || (weak && WithoutWeakPrefix(tag) == etag);
  });
  return match;
}

/// 0 when the content may be sent, else 304 or 412.
int EvaluatePreconditions(const Conditions& conditions, const ContentFields& fields) {
  if (!conditions.if_match.empty()) {
    if (!AnyTagMatches(conditions.if_match, fields.etag, /*weak=*/false)) return 412;
  } else if (conditions.if_unmodified_since &&
             fields.modified_unix_s > *conditions.if_unmodified_since) {
    return 412;
  }
  if (!conditions.if_none_match.empty()) {
    if (AnyTagMatches(conditions.if_none_match, fields.etag, /*weak=*/true)) return 304;
  } else if (conditions.if_modified_since &&
             fields.modified_unix_s <= *conditions.if_modified_since) {
    return 304;
  }
  return kOk;
}

struct Range {
  enum class Kind { kWhole, kPart, kUnsatisfiable } kind = Kind::kWhole;
  std::uint64_t first = 0;
  std::uint64_t length = 0;
};

/// A range that is malformed, of another unit, or one of several is answered with the whole.
Range EvaluateRange(std::string_view text, std::uint64_t length) {
  constexpr std::string_view kUnit = "bytes=";
  const Range whole{Range::Kind::kWhole, 0, length};
  if (text.size() <= kUnit.size() || !EqualsIgnoringCase(text.substr(0, kUnit.size()), kUnit)) {
    return whole;
  }
  text = TrimOws(text.substr(kUnit.size()));
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos || text.find(',') != std::string_view::npos) return whole;
  const std::string_view first_text = text.substr(0, dash);
  const std::string_view last_text = text.substr(dash + 1);
  const auto digits = [](std::string_view t) {
    return !t.empty() && t.find_first_not_of("0123456789") == std::string_view::npos;
  };
  // A number of 2^64 or more is beyond every end.
  const auto number = [](std::string_view t) { return ParseDecimal(t).value_or(UINT64_MAX); };
  if (first_text.empty()) {  // the last n bytes
    if (!digits(last_text)) return whole;
    const std::uint64_t n = std::min(number(last_text), length);
    if (number(last_text) == 0) return {Range::Kind::kUnsatisfiable, 0, 0};
    if (length == 0) return whole;  // satisfiable, but no Content-Range can say it
    return {Range::Kind::kPart, length - n, n};
  }
  if (!digits(first_text) || !(last_text.empty() || digits(last_text))) return whole;
  const std::uint64_t first = number(first_text);
  const std::uint64_t last = last_text.empty() ? UINT64_MAX : number(last_text);
  if (last < first) return whole;
  if (first >= length) return {Range::Kind::kUnsatisfiable, 0, 0};
  return {Range::Kind::kPart, first, std::min(last, length - 1) - first + 1};
}

bool IfRangeHolds(const std::string& if_range, const ContentFields& fields) {
  if (if_range.empty() || if_range == fields.etag) return true;
  const auto date = ParseHttpDate(if_range);
  return date && *date == fields.modified_unix_s;
}

void AppendLine(std::string* head, std::string_view name, std::string_view value) {
  head->append(name).append(": ").append(value).append("\r\n");
}

std::string BeginHead(int code, const Request& request, const HttpContext& context) {
  std::string head;
  head.reserve(320);
  head.append("HTTP/1.1 ").append(std::to_string(code)).append(" ").append(HttpReason(code));
  head.append("\r\nServer: getfile\r\n");
  AppendLine(&head, "Date", context.date);
  if (!context.keep_alive) {
    AppendLine(&head, "Connection", "close");
  } else if (request.http_1_0) {
    AppendLine(&head, "Connection", "keep-alive");
  }
  return head;
}

}  // namespace

const char* HttpReason(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 412:
      return "Precondition Failed";
    case 414:
      return "URI Too Long";
    case 416:
      return "Range Not Satisfiable";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Internal Server Error";
  }
}

int ParseHttpRequest(std::string_view head, Request* request) {
  request->protocol = Protocol::kHttp;
  const std::string_view line = TakeLine(&head);
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return 400;
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!IsToken(method) || target.empty()) return 400;
  if (version.size() != 8 || !version.starts_with("HTTP/") || version[6] != '.') return 400;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (!digit(version[5]) || !digit(version[7])) return 400;
  if (version[5] != '1') return 505;
  request->http_1_0 = version[7] == '0';
  request->head = method == "HEAD";

  Framing framing;
  int hosts = 0;
  while (!head.empty()) {
    const std::string_view field = TakeLine(&head);
    if (field.empty()) break;
    if (const int code = ParseField(field, request, &framing, &hosts); code != kOk) return code;
  }
  // RFC 9112 section 3.2: exactly one Host; section 6.3: no two ways to say where a body ends.
  if (hosts > 1 || (hosts == 0 && !request->http_1_0)) return 400;
  if (framing.encoded && (framing.content_length || request->http_1_0)) return 400;
  if (method != "GET" && method != "HEAD") return 405;
  if (const int code = ParseTarget(target, request); code != kOk) return code;
  request->keep_alive = !framing.close && (!request->http_1_0 || framing.keep_alive);
  // A body is not read: what stands behind it cannot be found, so this request is the last one.
  if (framing.encoded || framing.content_length.value_or(0) > 0) request->keep_alive = false;
  return kOk;
}

HttpAnswer AnswerWithContent(const Request& request, const ContentFields& fields,
                             std::uint64_t length, const HttpContext& context) {
  HttpAnswer answer;
  answer.code = EvaluatePreconditions(request.conditions, fields);
  if (answer.code == 412) return AnswerWithCode(request, 412, context);
  Range range{Range::Kind::kWhole, 0, length};
  if (answer.code == kOk) {
    answer.code = 200;
    if (!request.head && !request.conditions.range.empty() &&
        IfRangeHolds(request.conditions.if_range, fields)) {
      range = EvaluateRange(request.conditions.range, length);
    }
    if (range.kind == Range::Kind::kPart) answer.code = 206;
    if (range.kind == Range::Kind::kUnsatisfiable) answer.code = 416;
  }
  answer.head = BeginHead(answer.code, request, context);
  std::string* const head = &answer.head;
  const std::string total = std::to_string(length);
  switch (answer.code) {
    case 206:
      AppendLine(head, "Content-Range",
                 "bytes " + std::to_string(range.first) + "-" +
                     std::to_string(range.first + range.length - 1) + "/" + total);
      break;
    case 416:
      AppendLine(head, "Content-Range", "bytes */" + total);
      break;
    default:
      break;
  }
  AppendLine(head, "ETag", fields.etag);
  AppendLine(head, "Last-Modified", fields.last_modified);
  if (answer.code != 304) {
    AppendLine(head, "Accept-Ranges", "bytes");
    AppendLine(head, "Content-Type", fields.content_type);
    AppendLine(head, "Content-Length", std::to_string(range.length));
  }
  head->append("\r\n");
  answer.body_first = range.first;
  answer.body_length = request.head || answer.code == 304 ? 0 : range.length;
  return answer;
}

HttpAnswer AnswerWithCode(const Request& request, int code, const HttpContext& context) {
  HttpAnswer answer{.code = code, .head = BeginHead(code, request, context)};
  std::string* const head = &answer.head;
  if (code == 405) AppendLine(head, "Allow", "GET, HEAD");
  if (code == 301) {
    // One leading slash only: "//host" would lead to another server.
    const std::string path = PercentEncodePath(request.path);
    AppendLine(head, "Location",
               "/" + path.substr(std::min(path.find_first_not_of('/'), path.size())) + "/" +
                   request.query);
  }
  const std::string page = std::to_string(code) + " " + HttpReason(code) + "\n";
  AppendLine(head, "Content-Type", "text/plain");
  AppendLine(head, "Content-Length", std::to_string(page.size()));
  head->append("\r\n");
  if (!request.head) head->append(page);
  return answer;
}

}  // namespace ds::getfile
