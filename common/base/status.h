#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// The one place that knows that the distribution's Abseil has a string_view of its own, which
// neither fmt nor std::string_view understands. Messages read "what we tried: why it failed".

namespace ds {

/// A status with `message`; the code must not be kOk.
absl::Status Error(absl::StatusCode code, std::string_view message);

inline absl::Status InvalidArgument(std::string_view message) {
  return Error(absl::StatusCode::kInvalidArgument, message);
}
inline absl::Status Unavailable(std::string_view message) {
  return Error(absl::StatusCode::kUnavailable, message);
}

/// "<what>: <strerror(error_number)>", with the code that fits the errno.
absl::Status ErrnoError(std::string_view what, int error_number);

/// strerror without its thread-unsafe buffer.
std::string ErrnoText(int error_number);

/// The message of a status as a std::string (its own type is Abseil's string_view).
std::string Message(const absl::Status& status);

}  // namespace ds

#define DS_CONCAT_INNER(a, b) a##b
#define DS_CONCAT(a, b) DS_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expression)                           \
  do {                                                        \
    if (absl::Status status_ = (expression); !status_.ok()) { \
      return status_;                                         \
    }                                                         \
  } while (false)

#define ASSIGN_OR_RETURN(declaration, expression) \
  ASSIGN_OR_RETURN_IMPL(DS_CONCAT(status_or_, __LINE__), declaration, expression)
#define ASSIGN_OR_RETURN_IMPL(temporary, declaration, expression) \
  auto temporary = (expression);                                  \
  if (!temporary.ok()) {                                          \
    return std::move(temporary).status();                         \
  }                                                               \
  declaration = std::move(temporary).value()
