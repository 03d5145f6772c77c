#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ds::getfile {

/// What sha256sum(1) prints: file names with their digests.
struct ChecksumList {
  std::map<std::string, std::string> digest_of;  ///< name, as listed -> 64 lower-case hex digits
  std::vector<std::string> errors;               ///< "line 7: …", all that were found
};

/// Lines "<64 hex digits><space><space or *><name>"; a leading backslash says that \\ , \n and \r
/// in the name are escapes. A leading "./" of a name is dropped. Empty lines are ignored.
ChecksumList ParseChecksumList(std::string_view text);

}  // namespace ds::getfile
