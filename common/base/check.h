#pragma once

#include <string_view>

namespace ds::internal {
/// Prints the failed condition with its place on stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              std::string_view detail) noexcept;
}  // namespace ds::internal

/// A bug in this program, never the world's fault: always on, in every build type.
/// CHECK(index < size) or CHECK(index < size, "what the reader needs to know").
#define CHECK(condition, ...)                                                                     \
  do {                                                                                            \
    if (!(condition)) [[unlikely]] {                                                              \
      ::ds::internal::CheckFailed(__FILE__, __LINE__, #condition, std::string_view{__VA_ARGS__}); \
    }                                                                                             \
  } while (false)
