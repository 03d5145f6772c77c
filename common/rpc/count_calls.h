#pragma once

#include <grpcpp/support/client_interceptor.h>
#include <grpcpp/support/server_interceptor.h>

#include "common/rpc/call_counts.h"

namespace ds::rpc {

/// Has gRPC count the calls of a server or of a channel. `counts` must outlive the calls.
class CountCalls : public grpc::experimental::ServerInterceptorFactoryInterface,
                   public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit CountCalls(CallCounts* counts) : counts_(counts) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override;
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo* info) override;

 private:
  CallCounts* const counts_;
};

}  // namespace ds::rpc
