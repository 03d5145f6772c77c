#pragma once

#include <string>

#include "common/base/status.h"
#include "getfile/front/options.h"

namespace ds::getfile {

/// What getfile-server can be told, beside what every daemon can.
struct ServerOptions {
  FrontOptions front;
  std::string root = ".";    ///< served as a tree, unless there is a content file
  std::string content_file;  ///< empty: serve `root`
  bool dot_files = false;    ///< serve paths with components that begin with a dot
  double revalidate_s = 1;   ///< how long a cached open file may be stale

  absl::Status Validate() const;
};

}  // namespace ds::getfile
