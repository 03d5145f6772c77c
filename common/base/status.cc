#include "common/base/status.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

#include "common/base/check.h"

namespace ds {

absl::Status Error(absl::StatusCode code, std::string_view message) {
  CHECK(code != absl::StatusCode::kOk);
  return absl::Status(code, absl::string_view(message.data(), message.size()));
}

std::string ErrnoText(int error_number) {
  // generic_category().message() is thread-safe, unlike strerror().
  return std::generic_category().message(error_number);
}

absl::Status ErrnoError(std::string_view what, int error_number) {
  absl::StatusCode code = absl::StatusCode::kUnknown;
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      code = absl::StatusCode::kNotFound;
      break;
    case EACCES:
    case EPERM:
      code = absl::StatusCode::kPermissionDenied;
      break;
    case EEXIST:
      code = absl::StatusCode::kAlreadyExists;
      break;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      code = absl::StatusCode::kResourceExhausted;
      break;
    case EAFNOSUPPORT:
    case EADDRNOTAVAIL:
      code = absl::StatusCode::kUnimplemented;
      break;
    case ETIMEDOUT:
      code = absl::StatusCode::kDeadlineExceeded;
      break;
    case EADDRINUSE:
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
      code = absl::StatusCode::kUnavailable;
      break;
    default:
      break;
  }
  return Error(code, fmt::format("{}: {}", what, ErrnoText(error_number)));
}

std::string Message(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

}  // namespace ds
