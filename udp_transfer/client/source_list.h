#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace ds::udp_transfer {

/// One file or folder to be sent.
struct Source {
  std::string path;  ///< local
  std::string name;  ///< on the server
  bool folder = false;
  std::uint64_t bytes = 0;  ///< as of the listing; 0 of a folder
};

/// Below a folder, and not to be sent.
struct Skipped {
  std::string path;
  absl::Status why;
  bool failed = false;  ///< should have been sent
};

/// What the local `paths` stand for, folders with all that is below them, in the order in which
/// they can be sent. A single file or folder gets `name`; several, or any if `name` ends with a
/// slash, are put below it. What is below a folder and a link, neither file nor folder, or
/// cannot be read is left out and named in `skipped`; a link among the paths is followed.
/// kInvalidArgument if two of the paths would get the same name.
absl::StatusOr<std::vector<Source>> ListSources(const std::vector<std::string>& paths,
                                                const std::string& name,
                                                std::vector<Skipped>* skipped);

}  // namespace ds::udp_transfer
