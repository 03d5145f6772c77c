#include "getfile/core/path_list.h"

#include <algorithm>

#include "common/base/parse.h"
#include "getfile/core/protocol.h"

namespace ds::getfile {

PathList ParsePathList(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n\v\f";
  PathList list;
  for (;;) {
    text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
    if (text.empty()) return list;
    const std::string_view word = text.substr(0, text.find_first_of(kBlanks));
    text.remove_prefix(word.size());
    if (IsRequestPath(word)) {
      list.paths.emplace_back(word);
    } else {
      list.errors.push_back('"' + EscapeBytes(word.substr(0, 80)) +
                            "\" is not a path that can be requested");
    }
  }
}

}  // namespace ds::getfile
