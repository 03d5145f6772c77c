#include "common/rpc/server.h"

#include <fmt/format.h>
#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/impl/server_initializer.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/server_interceptor.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "common/base/check.h"
#include "common/rpc/call_counts.h"
#include "common/rpc/count_calls.h"
#include "common/rpc/library_log.h"

namespace ds::rpc {
namespace {

using grpc::experimental::ExternalConnectionAcceptor;

/// How long the accept thread rests when there are no descriptors left, and how often a drain looks
/// whether only watchers are left.
constexpr int kOutOfDescriptorsMs = 50;
constexpr std::chrono::milliseconds kDrainStep(2);

/// Accepts connections and hands them to gRPC.
class AcceptThread {
 public:
  AcceptThread(std::vector<net::Listener> listeners,
               std::unique_ptr<ExternalConnectionAcceptor> acceptor)
      : listeners_(std::move(listeners)),
        acceptor_(std::move(acceptor)),
        stop_(::eventfd(0, EFD_CLOEXEC)),
        thread_([this] { Run(); }) {
    CHECK(stop_, "eventfd");
  }
  ~AcceptThread() { Stop(); }

  /// Closes the listeners.
  void Stop() {
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
    thread_.join();
    listeners_.clear();
  }

  std::uint64_t accepted() const { return accepted_.load(std::memory_order_relaxed); }

 private:
  void Run() {
    std::vector<pollfd> fds;
    fds.push_back({stop_.get(), POLLIN, 0});
    for (const auto& listener : listeners_) fds.push_back({listener.socket.get(), POLLIN, 0});
    for (;;) {
      if (::poll(fds.data(), fds.size(), -1) < 0) continue;  // EINTR
      if (fds[0].revents != 0) return;
      for (std::size_t i = 1; i < fds.size(); ++i) {
        if (fds[i].revents != 0 && !AcceptAll(fds[i].fd)) Rest();
      }
    }
  }

  /// False: there are no descriptors, or no memory, for a connection that waits.
  bool AcceptAll(int listener) {
    for (;;) {
      const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        const int error = errno;
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
          return false;
        }
        if (error == EINTR || error == ECONNABORTED) continue;  // that connection is over already
        return true;
      }
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      accepted_.fetch_add(1, std::memory_order_relaxed);
      ExternalConnectionAcceptor::NewConnectionParameters connection;
      connection.listener_fd = listener;
      connection.fd = fd;
      acceptor_->HandleNewConnection(&connection);
    }
  }

  void Rest() {
    pollfd stop{stop_.get(), POLLIN, 0};
    ::poll(&stop, 1, kOutOfDescriptorsMs);
  }

  std::vector<net::Listener> listeners_;
  const std::unique_ptr<ExternalConnectionAcceptor> acceptor_;
  const UniqueFd stop_;
  std::atomic<std::uint64_t> accepted_{0};
  std::jthread thread_;
};

std::shared_ptr<grpc::ServerCredentials> Credentials(const TlsOptions& options, TlsFiles files) {
  if (!options.enabled()) return grpc::InsecureServerCredentials();
  constexpr auto kNeeded = GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  grpc::SslServerCredentialsOptions ssl(files.ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                         : kNeeded);
  ssl.pem_root_certs = std::move(files.ca);
  ssl.pem_key_cert_pairs.push_back({std::move(files.key), std::move(files.cert)});
  return grpc::SslServerCredentials(ssl);
}

/// Learns the full names of the services from the only ones that gRPC shows them to: plugins.
class ServiceNames : public grpc::ServerBuilderPlugin {
 public:
  explicit ServiceNames(std::vector<std::string>* names) : names_(names) {}
  std::string name() override { return "service_names"; }
  void InitServer(grpc::ServerInitializer* /*server*/) override {}
  void Finish(grpc::ServerInitializer* server) override { *names_ = *server->GetServiceList(); }
  void ChangeArguments(const std::string& /*name*/, void* /*value*/) override {}

 private:
  std::vector<std::string>* const names_;
};

class LearnServiceNames : public grpc::ServerBuilderOption {
 public:
  explicit LearnServiceNames(std::vector<std::string>* names) : names_(names) {}
  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->push_back(std::make_unique<ServiceNames>(names_));
  }

 private:
  std::vector<std::string>* const names_;
};

int Ms(std::chrono::milliseconds time) { return static_cast<int>(time.count()); }

}  // namespace

absl::Status ServerOptions::Validate() const {
  if (message_bytes_max < 1 || message_bytes_max > (1U << 30U)) {
    return InvalidArgument("message size: not between 1 byte and 1 GiB");
  }
  if (memory_bytes < message_bytes_max) {
    return InvalidArgument("memory: less than one message needs");
  }
  if (streams_max < 1) return InvalidArgument("streams: less than one");
  if (threads_max < 4) return InvalidArgument("threads: less than four");
  return absl::OkStatus();
}

class Server::Impl {
 public:
  Impl(const ServerOptions& options, TlsFiles files, std::vector<net::Listener> listeners,
       const std::vector<grpc::Service*>& services, daemon::Metrics* metrics)
      : quota_("server") {
    static std::once_flag once;
    CatchLibraryLogs();
    std::call_once(once, [] {
      grpc::EnableDefaultHealthCheckService(true);
      grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    });
    for (const auto& listener : listeners) listen_.push_back(listener.local);

    quota_.Resize(options.memory_bytes);
    quota_.SetMaxThreads(options.threads_max);
    grpc::ServerBuilder builder;
    builder.SetResourceQuota(quota_);
    builder.SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes_max));
    builder.SetMaxSendMessageSize(static_cast<int>(options.message_bytes_max));
    builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.streams_max);
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                               static_cast<int>(options.metadata_bytes_max));
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, Ms(options.handshake_timeout));
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Ms(options.idle_max));
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Ms(options.keepalive_time));
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Ms(options.keepalive_timeout));
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    // Our clients' keepalive is no attack.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                               Ms(options.keepalive_time) / 2);
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> factories;
    factories.push_back(std::make_unique<CountCalls>(&counts_));
    builder.experimental().SetInterceptorCreators(std::move(factories));
    auto acceptor = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
        Credentials(options.tls, std::move(files)));
    for (grpc::Service* service : services) builder.RegisterService(service);
    std::vector<std::string> names;
    builder.SetOption(std::make_unique<LearnServiceNames>(&names));
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return;
    // "" it knows by itself.
    for (const auto& name : names) server_->GetHealthCheckService()->SetServingStatus(name, true);
    accept_thread_.emplace(std::move(listeners), std::move(acceptor));
    if (metrics != nullptr) {
      metrics_ = metrics->Register([this](daemon::MetricsPage& page) {
        page.Count("rpc_server_connections_total", "Connections accepted",
                   static_cast<double>(accept_thread_->accepted()));
        counts_.Collect("rpc_server", page);
      });
    }
  }

  ~Impl() { Drain(TimePoint()); }

  bool started() const { return server_ != nullptr; }
  const std::vector<net::Endpoint>& listen() const { return listen_; }

  void Drain(TimePoint deadline) {
    if (server_ == nullptr || drained_) return;
    drained_ = true;
    accept_thread_->Stop();
    if (auto* health = server_->GetHealthCheckService()) health->Shutdown();
    // Shutdown() waits for every call, and a watcher may stay for ever. Until it returns: a watcher
    // that gRPC had taken already may begin late.
    std::jthread watchers_end([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        const CallCounts::Open open = counts_.open();
        if (open.calls == 0 && open.watchers > 0) grpc_server_cancel_all_calls(server_->c_server());
        std::this_thread::sleep_for(kDrainStep);
      }
    });
    const Duration left = deadline - std::chrono::steady_clock::now();
    server_->Shutdown(
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_nanos(
                         std::max<std::int64_t>(
                             0, std::chrono::duration_cast<std::chrono::nanoseconds>(left).count()),
                         GPR_TIMESPAN)));
  }

 private:
  CallCounts counts_;
  grpc::ResourceQuota quota_;
  std::vector<net::Endpoint> listen_;
  std::unique_ptr<grpc::Server> server_;
  std::optional<AcceptThread> accept_thread_;
  bool drained_ = false;
  daemon::Metrics::Registration metrics_;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      std::vector<net::Listener> listeners,
                                                      const std::vector<grpc::Service*>& services,
                                                      daemon::Metrics* metrics) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(TlsFiles files, ReadTlsFiles(options.tls, TlsEnd::kServer));
  auto impl =
      std::make_unique<Impl>(options, std::move(files), std::move(listeners), services, metrics);
  if (!impl->started()) return Unavailable("start the gRPC server: see --log-level debug");
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

const std::vector<net::Endpoint>& Server::listen() const { return impl_->listen(); }

void Server::Drain(TimePoint deadline) { impl_->Drain(deadline); }

}  // namespace ds::rpc
