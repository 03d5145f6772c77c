#pragma once

#include <string>

namespace ds::daemon {

struct LogOptions {
  std::string level = "info";   ///< trace, debug, info, warn, error
  std::string format = "text";  ///< text, json (one object a line)
};

/// Makes spdlog's default logger write to stderr in the given form.
/// REQUIRES: the options were checked by the flag parser.
void SetUpLogging(const std::string& program, const LogOptions& options);

}  // namespace ds::daemon
