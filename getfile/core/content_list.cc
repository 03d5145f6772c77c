#include "getfile/core/content_list.h"

#include <map>
#include <utility>

#include "common/base/parse.h"
#include "getfile/core/protocol.h"

namespace ds::getfile {
namespace {

std::string_view WithoutComment(std::string_view line) {
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) {
      return line.substr(0, i);
    }
  }
  return line;
}

}  // namespace

ContentList ParseContentList(std::string_view text) {
  ContentList list;
  std::map<std::string, std::size_t, std::less<>> line_of_key;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = TrimBlanks(WithoutComment(text.substr(0, end)));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    if (line.empty()) continue;
    const auto bad = [&](const std::string& why) {
      list.errors.push_back("line " + std::to_string(number) + ": " + why);
    };
    const std::size_t blank = line.find_first_of(" \t");
    const std::string_view key = line.substr(0, blank);
    const std::string quoted = '"' + EscapeBytes(key.substr(0, 80)) + '"';
    if (!IsRequestPath(key)) {
      bad("the key " + quoted +
          " is not a path that can be requested (it begins with /, has no "
          "control byte, at most 4096 bytes)");
    } else if (blank == std::string_view::npos) {
      bad("the key " + quoted + " has no file");
    } else if (line.find('\0') != std::string_view::npos) {
      bad("NUL in the file's name");
    } else if (const auto [first, fresh] = line_of_key.emplace(key, number); !fresh) {
      bad("the key " + quoted + " stands already in line " + std::to_string(first->second));
    } else {
      list.entries.push_back(
          {std::string(key), std::string(TrimBlanks(line.substr(blank))), number});
    }
  }
  return list;
}

}  // namespace ds::getfile
