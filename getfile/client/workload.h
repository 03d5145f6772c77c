#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace ds::getfile {

/// The paths of a workload file, at least one. Whatever is wrong with it is kInvalidArgument.
absl::StatusOr<std::vector<std::string>> LoadWorkload(const std::string& file);

/// The list of sha256sum(1) in `file`: name -> digest. Whatever is wrong is kInvalidArgument.
absl::StatusOr<std::map<std::string, std::string>> LoadDigests(const std::string& file);

}  // namespace ds::getfile
