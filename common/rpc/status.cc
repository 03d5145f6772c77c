#include "common/rpc/status.h"

#include <fmt/format.h>
#include <grpcpp/support/status.h>

namespace ds::rpc {

// Abseil took its codes over from gRPC: the numbers are the same.
static_assert(static_cast<int>(absl::StatusCode::kUnauthenticated) ==
              static_cast<int>(grpc::StatusCode::UNAUTHENTICATED));
static_assert(static_cast<int>(absl::StatusCode::kDataLoss) ==
              static_cast<int>(grpc::StatusCode::DATA_LOSS));

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), Message(status)};
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = status.error_code();
  if (code < 0 || code > static_cast<int>(grpc::StatusCode::UNAUTHENTICATED)) {
    return Error(absl::StatusCode::kUnknown,
                 fmt::format("{} (status code {})", status.error_message(), code));
  }
  return Error(static_cast<absl::StatusCode>(code), status.error_message());
}

}  // namespace ds::rpc
