#pragma once

#include <cstddef>
#include <string>

#include "common/base/status.h"

namespace ds::fs {

/// The whole of a file or pipe of at most `bytes_max` bytes; larger is kResourceExhausted.
/// A named pipe that nobody writes to is empty.
absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t bytes_max = 64U << 20U);

}  // namespace ds::fs
