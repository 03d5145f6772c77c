#include "tests/getfile/http_reply.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "tests/harness/run_tool.h"

namespace ds::getfile {
namespace {

std::optional<std::uint64_t> Number(std::string_view digits) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return number;
}

}  // namespace

std::string HttpReply::Field(std::string_view name) const {
  for (const std::string& field : fields) {
    if (field.starts_with(name) && field.substr(name.size(), 2) == ": ") {
      return field.substr(name.size() + 2);
    }
  }
  return "<none>";
}

void PrintTo(const HttpReply& reply, std::ostream* out) {
  *out << reply.version << ' ' << reply.code;
  for (const std::string& field : reply.fields) *out << "\n  " << field;
  *out << "\n  " << Abbreviate(reply.body);
}

HttpReply TakeReply(std::string_view* bytes, bool bodiless) {
  const std::size_t end = bytes->find("\r\n\r\n");
  HttpReply broken{.code = 0, .version = "", .fields = {}, .body = std::string(*bytes)};
  if (end == std::string_view::npos || !bytes->starts_with("HTTP/1.") || end < 12) return broken;
  HttpReply reply;
  std::string_view head = bytes->substr(0, end + 2);
  for (bool first = true; !head.empty(); first = false) {
    const std::size_t line_end = head.find("\r\n");
    const std::string_view line = head.substr(0, line_end);
    head.remove_prefix(line_end + 2);
    if (first) {
      reply.version = line.substr(0, 8);
      reply.code = static_cast<int>(Number(line.substr(9, 3)).value_or(0));
    } else {
      reply.fields.emplace_back(line);
    }
  }
  std::uint64_t length = 0;
  if (!bodiless && reply.code >= 200 && reply.code != 304) {
    const auto number = Number(reply.Field("Content-Length"));
    if (!number) return broken;
    length = *number;
  }
  if (bytes->size() - end - 4 < length) return broken;
  reply.body = bytes->substr(end + 4, length);
  bytes->remove_prefix(end + 4 + length);
  return reply;
}

std::vector<HttpReply> ReadReplies(std::string_view bytes, const std::set<std::size_t>& bodiless) {
  std::vector<HttpReply> replies;
  while (!bytes.empty()) {
    replies.push_back(TakeReply(&bytes, bodiless.contains(replies.size())));
    if (replies.back().code == 0) break;
  }
  return replies;
}

std::vector<std::string> CurlFlags(const std::vector<std::string>& more) {
  std::vector<std::string> flags = {"-q", "-sS", "--noproxy", "*", "--path-as-is"};
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

std::string Url(const GetfileServer& server, std::string_view target) {
  return fmt::format("http://{}:{}{}", server.host(), server.port(), target);
}

HttpReply Curl(const GetfileServer& server, std::string_view target,
               const std::vector<std::string>& more) {
  std::vector<std::string> flags = CurlFlags(more);
  flags.insert(flags.end(), {"-i", Url(server, target)});
  const testing::ToolResult result = testing::RunTool("curl", flags);
  EXPECT_EQ(result.exit_code, 0) << target << ": " << result.err;
  std::string_view bytes = result.out;
  const bool head = std::find(more.begin(), more.end(), "-I") != more.end();
  HttpReply reply = TakeReply(&bytes, head);
  EXPECT_EQ(bytes, "") << "surplus bytes after the answer to " << target;
  return reply;
}

}  // namespace ds::getfile
