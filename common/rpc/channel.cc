#include "common/rpc/channel.h"

#include <fmt/format.h>
#include <grpc/grpc.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/unique_fd.h"
#include "common/net/endpoint.h"
#include "common/rpc/count_calls.h"
#include "common/rpc/library_log.h"

namespace ds::rpc {
namespace {

std::shared_ptr<grpc::ChannelCredentials> Credentials(const TlsOptions& options, TlsFiles files) {
  if (!options.enabled()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = std::move(files.ca);
  ssl.pem_cert_chain = std::move(files.cert);
  ssl.pem_private_key = std::move(files.key);
  return grpc::SslCredentials(ssl);
}

int Ms(std::chrono::milliseconds time) { return static_cast<int>(time.count()); }

/// On the monotonic clock: a step of the machine's time moves no deadline.
gpr_timespec After(Duration timeout) {
  return gpr_time_add(
      gpr_now(GPR_CLOCK_MONOTONIC),
      gpr_time_from_nanos(std::chrono::duration_cast<std::chrono::nanoseconds>(timeout).count(),
                          GPR_TIMESPAN));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& target,
                                                           const ChannelOptions& options) {
  CatchLibraryLogs();
  // gRPC would take other text, too, and fail at the first call only.
  RETURN_IF_ERROR(net::HostPort::Parse(target).status());
  ASSIGN_OR_RETURN(TlsFiles files, ReadTlsFiles(options.tls, TlsEnd::kClient));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes_max));
  // What is too large to be sent is the server's to refuse, which knows its limit.
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, Ms(options.backoff_min));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, Ms(options.backoff_max));
  // In spite of its name it is how long one attempt may take.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, Ms(options.connect_timeout));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Ms(options.keepalive_time));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Ms(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no bound
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> factories;
  if (options.counts != nullptr) factories.push_back(std::make_unique<CountCalls>(options.counts));
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      target, Credentials(options.tls, std::move(files)), arguments, std::move(factories));
}

bool WaitForConnected(grpc::Channel& channel, Duration timeout) {
  return channel.WaitForConnected(After(timeout));
}

CallContext::CallContext(Duration timeout) : context_(std::make_unique<grpc::ClientContext>()) {
  CHECK(timeout > Duration::zero(), "a call without a deadline");
  context_->set_deadline(After(timeout));
}

CallContext::~CallContext() = default;

void CallContext::Cancel() { context_->TryCancel(); }

class CancelWhenReadable::Impl {
 public:
  Impl(int fd, CallContext* call)
      : stop_(::eventfd(0, EFD_CLOEXEC)), thread_([this, fd, call] {
          pollfd fds[2] = {{fd, POLLIN, 0}, {stop_.get(), POLLIN, 0}};
          while (::poll(fds, 2, -1) < 0) {  // EINTR
          }
          if (fds[0].revents != 0) call->Cancel();
        }) {
    CHECK(stop_, "eventfd");
  }
  ~Impl() {
    const std::uint64_t one = 1;
    CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
  }

 private:
  const UniqueFd stop_;
  std::jthread thread_;
};

CancelWhenReadable::CancelWhenReadable(int fd, CallContext* call)
    : impl_(std::make_unique<Impl>(fd, call)) {}
CancelWhenReadable::~CancelWhenReadable() = default;

}  // namespace ds::rpc
