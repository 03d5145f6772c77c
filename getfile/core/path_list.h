#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ds::getfile {

/// A workload: request paths separated by any white space.
struct PathList {
  std::vector<std::string> paths;
  std::vector<std::string> errors;  ///< what cannot be a request path, all that were found
};

PathList ParsePathList(std::string_view text);

}  // namespace ds::getfile
