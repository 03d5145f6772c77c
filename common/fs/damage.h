#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string_view>

#include "common/base/status.h"

namespace ds::fs {

/// kDataLoss of a file of a store, a `kind` of its owner's: whoever looks must find the place.
inline absl::Status DataLoss(std::string_view kind, std::string_view file, std::uint64_t offset,
                             std::string_view why) {
  return Error(absl::StatusCode::kDataLoss,
               fmt::format("read {} \"{}\" at offset {}: {}", kind, file, offset, why));
}

}  // namespace ds::fs
