#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

// A look at processes through /proc. All of it may vanish at any moment.

namespace ds::testing {

/// The fields of /proc/<pid>/stat (or a thread's) from the third, the state, on. The second is the
/// name of the program in parentheses, which may hold blanks and parentheses itself.
std::vector<std::string> StatFields(const std::string& path);

/// The paths in a folder.
std::vector<std::string> ListFolder(const std::string& folder);

/// Whether every thread of the process is stopped: a signal stops one after the other.
bool StandsStill(pid_t pid);

}  // namespace ds::testing
