#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ds::getfile {

/// A content file: which request path is answered with which file.
///
///   # comment
///   /some/key <blanks> some/file     # comment
///
/// One entry a line: the key, spaces or tabs, the file's name to the end of the line (blanks inside
/// it are part of it). Trailing blanks, empty lines and comments (a # at the beginning of the line
/// or after a blank) are ignored; the last line needs no newline.
struct ContentList {
  struct Entry {
    std::string key;   ///< a request path
    std::string file;  ///< as written: relative to the content file's folder, or absolute
    std::size_t line = 0;
  };
  std::vector<Entry> entries;
  std::vector<std::string> errors;  ///< "line 7: …", all that were found
};

ContentList ParseContentList(std::string_view text);

}  // namespace ds::getfile
