#pragma once

#include <string_view>

#include "common/base/status.h"

namespace ds::udp_transfer {

/// Under the server's folder: unfinished files and the lock. No name leads into it.
inline constexpr std::string_view kPartialFolder = ".udp-partial";

inline constexpr std::size_t kTransferNameBytesMax = 4096;
inline constexpr std::size_t kNameComponentBytesMax = 255;

/// A name of fast mode: components of 1 to 255 bytes with one slash between them, 4096 bytes in
/// all; none is "." or "..", none contains NUL, and the first is not kPartialFolder. Else
/// kInvalidArgument, "name "…": why not".
absl::Status CheckTransferName(std::string_view name);

/// A name of classic mode: the same, but a single component.
absl::Status CheckClassicName(std::string_view name);

}  // namespace ds::udp_transfer
