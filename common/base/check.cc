#include "common/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace ds::internal {

void CheckFailed(const char* file, int line, const char* condition,
                 std::string_view detail) noexcept {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s%s%.*s\n", file, line, condition,
               detail.empty() ? "" : ": ", static_cast<int>(detail.size()), detail.data());
  std::abort();
}

}  // namespace ds::internal
