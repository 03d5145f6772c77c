#include "common/rpc/count_calls.h"

namespace ds::rpc {
namespace {

/// Counts one call: at a server it lives exactly as long as the call, at a client as long as the
/// call's context, which may be longer.
class CountedCall : public grpc::experimental::Interceptor {
 public:
  explicit CountedCall(CallCounts::Method* method) : method_(method) { method_->Begin(); }
  ~CountedCall() override { method_->End(code_); }

  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    if (batch->QueryInterceptionHookPoint(Point::PRE_SEND_STATUS)) {  // at a server
      code_ = batch->GetSendStatus().error_code();
    }
    if (batch->QueryInterceptionHookPoint(Point::POST_RECV_STATUS)) {  // at a client
      code_ = batch->GetRecvStatus()->error_code();
    }
    batch->Proceed();
  }

 private:
  CallCounts::Method* const method_;
  // Of a call that ends without a status of the server's, or whose status no client asked for.
  int code_ = grpc::StatusCode::CANCELLED;
};

}  // namespace

grpc::experimental::Interceptor* CountCalls::CreateServerInterceptor(
    grpc::experimental::ServerRpcInfo* info) {
  return new CountedCall(&counts_->Of(info->method()));
}

grpc::experimental::Interceptor* CountCalls::CreateClientInterceptor(
    grpc::experimental::ClientRpcInfo* info) {
  return new CountedCall(&counts_->Of(info->method()));
}

}  // namespace ds::rpc
