#include "compute/text/client.h"

#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>
#include <poll.h>

#include <optional>
#include <utility>

#include "common/rpc/status.h"
#include "proto/compute/v1/text.grpc.pb.h"

namespace ds::compute {
namespace {

/// For how long a server that was there may be away.
constexpr Duration kReturn = std::chrono::seconds(2);
/// Between two attempts in that time.
constexpr int kPauseMs = 20;

}  // namespace

absl::Status TextClientOptions::Validate() const {
  if (!(timeout_s > 0)) return InvalidArgument("--timeout: not above 0");
  return absl::OkStatus();
}

class TextClient::Impl {
 public:
  Impl(const TextClientOptions& options, std::shared_ptr<grpc::Channel> channel)
      : options_(options), channel_(std::move(channel)), stub_(v1::Text::NewStub(channel_)) {}

  v1::Text::Stub& stub() { return *stub_; }

  absl::Status Call(const char* what, const std::function<grpc::Status(rpc::CallContext*)>& make) {
    absl::Status status = Once(make);
    if (was_connected_) {
      // More than one attempt: a channel that has not noticed yet that its server is gone still
      // counts as connected.
      const TimePoint end = std::chrono::steady_clock::now() + kReturn;
      while (absl::IsUnavailable(status) && Pause()) {
        const Duration left = end - std::chrono::steady_clock::now();
        if (left <= Duration::zero() || !rpc::WaitForConnected(*channel_, left)) break;
        status = Once(make);
      }
    }
    if (status.ok()) {
      was_connected_ = true;
      return status;
    }
    if (absl::IsUnavailable(status)) {
      return Error(status.code(), fmt::format("{} at {}: {} (is text-server running there?)", what,
                                              options_.server, Message(status)));
    }
    // What the server said of the request; or the call has met its deadline.
    return Error(status.code(),
                 fmt::format("{} at {}: {}", what, options_.server, Message(status)));
  }

 private:
  absl::Status Once(const std::function<grpc::Status(rpc::CallContext*)>& make) {
    rpc::CallContext context(FromSeconds(options_.timeout_s));
    std::optional<rpc::CancelWhenReadable> cancel;
    if (options_.interrupt_fd >= 0) cancel.emplace(options_.interrupt_fd, &context);
    return rpc::FromGrpc(make(&context));
  }

  /// False: interrupted.
  bool Pause() const {
    pollfd interrupt{options_.interrupt_fd, POLLIN, 0};
    return ::poll(&interrupt, 1, kPauseMs) == 0;
  }

  const TextClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Text::Stub> stub_;
  bool was_connected_ = false;
};

TextClient::TextClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TextClient::~TextClient() = default;

absl::StatusOr<std::unique_ptr<TextClient>> TextClient::Create(const TextClientOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(auto channel, rpc::MakeChannel(options.server, options.channel));
  return std::unique_ptr<TextClient>(
      new TextClient(std::make_unique<Impl>(options, std::move(channel))));
}

absl::Status TextClient::Connect() {
  // The smallest call says more about a failure than the channel's state does.
  return impl_->Call("connect", [&](rpc::CallContext* context) {
    v1::ReverseResponse response;
    return impl_->stub().Reverse(context->get(), {}, &response);
  });
}

absl::StatusOr<std::string> TextClient::Reverse(const std::string& text) {
  v1::ReverseRequest request;
  request.set_text(text);
  v1::ReverseResponse response;
  RETURN_IF_ERROR(impl_->Call("reverse", [&](rpc::CallContext* context) {
    return impl_->stub().Reverse(context->get(), request, &response);
  }));
  return response.text();
}

absl::StatusOr<std::vector<std::string>> TextClient::Split(const std::string& text,
                                                           const std::string& delimiter) {
  v1::SplitRequest request;
  request.set_text(text);
  request.set_delimiter(delimiter);
  v1::SplitResponse response;
  RETURN_IF_ERROR(impl_->Call("split", [&](rpc::CallContext* context) {
    return impl_->stub().Split(context->get(), request, &response);
  }));
  return std::vector<std::string>(response.parts().begin(), response.parts().end());
}

absl::Status TextClient::IsPrime(const std::vector<std::string>& numbers,
                                 const std::function<void(const Answer&)>& answered) {
  std::size_t next = 0;  // also of a second attempt: what is answered is not asked again
  return impl_->Call("isprime", [&](rpc::CallContext* context) {
    const auto stream = impl_->stub().IsPrime(context->get());
    for (; next < numbers.size(); ++next) {
      v1::IsPrimeRequest request;
      request.set_number(numbers[next]);
      v1::IsPrimeResponse response;
      if (!stream->Write(request) || !stream->Read(&response)) break;
      answered({response.number(), response.prime(), response.error()});
    }
    stream->WritesDone();
    grpc::Status status = stream->Finish();
    if (status.ok() && next < numbers.size()) {
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the stream ended before the answers");
    }
    return status;
  });
}

}  // namespace ds::compute
