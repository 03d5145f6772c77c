#pragma once

#include "common/base/status.h"

namespace grpc {
class Status;
}

namespace ds::rpc {

/// The same code and message as a gRPC status. Both families have the same 17 codes.
grpc::Status ToGrpc(const absl::Status& status);

/// The same code and message. A code that is none of the 17 (a foreign peer may send any number) is
/// kUnknown, and its message names the number.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace ds::rpc
