#include <memory>
#include <utility>

#include "common/daemon/daemon.h"
#include "common/rpc/server.h"
#include "compute/text/service.h"

namespace {

/// text-server while it runs.
class TextServer : public ds::daemon::Service {
 public:
  static absl::StatusOr<ds::daemon::Started> Start(const ds::rpc::ServerOptions& rpc_options,
                                                   const ds::compute::TextServiceOptions& options,
                                                   const ds::daemon::Daemon& daemon,
                                                   ds::daemon::Metrics* metrics) {
    RETURN_IF_ERROR(options.Validate());
    RETURN_IF_ERROR(rpc_options.Validate());
    RETURN_IF_ERROR(ds::rpc::ReadTlsFiles(rpc_options.tls, ds::rpc::TlsEnd::kServer).status());
    ASSIGN_OR_RETURN(auto listeners, daemon.Bind());
    auto server = std::make_unique<TextServer>();
    server->text_ = std::make_unique<ds::compute::TextService>(options, metrics);
    ASSIGN_OR_RETURN(server->server_, ds::rpc::Server::Start(rpc_options, std::move(listeners),
                                                             {server->text_->service()}, metrics));
    const auto listen = server->server_->listen();
    return ds::daemon::Started{.service = std::move(server), .listen = listen};
  }

  void Drain(ds::TimePoint deadline) override { server_->Drain(deadline); }

 private:
  std::unique_ptr<ds::compute::TextService> text_;
  std::unique_ptr<ds::rpc::Server> server_;
};

}  // namespace

int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Daemon daemon({.name = "text-server",
                         .summary = "Reverses and splits texts and tells primes, by gRPC "
                                    "(ds.compute.v1.Text)."});
  daemon.AddListenOptions(50051, "PORT,-p,--port");

  rpc::ServerOptions rpc_options;
  compute::TextServiceOptions options;
  auto& flags = daemon.flags();
  rpc::AddTlsFlags(flags, &rpc_options.tls, rpc::TlsEnd::kServer);
  flags
      .add_option("--memory", rpc_options.memory_bytes,
                  "Bytes that gRPC may hold for all connections (k, m, g suffixes)")
      ->check(daemon::Size())
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  flags.add_option("--threads", rpc_options.threads_max, "Threads for calls of server reflection")
      ->check(daemon::Count(4, 10'000))
      ->capture_default_str();
  flags
      .add_option("--max-calls-per-connection", rpc_options.streams_max,
                  "Calls at a time on one connection")
      ->check(daemon::Count(1, 1'000'000))
      ->capture_default_str();
  flags.add_option("--max-streams", options.streams_max, "IsPrime streams at a time")
      ->check(daemon::Count(1, 1'000'000))
      ->capture_default_str();
  flags
      .add_option(
          "--stream-idle-timeout", options.stream_idle_s,
          "Seconds after which an IsPrime stream without a number, or a call whose answer is "
          "not taken, is ended")
      ->check(daemon::Seconds(0.01, 86400))
      ->capture_default_str();
  daemon.AllowOffLoopbackWithKey(&rpc_options.tls.cert_file, "--tls-cert");

  if (const auto code = daemon.Parse(argc, argv)) return *code;
  return daemon.Run([&](const std::stop_token&, daemon::Metrics& metrics) {
    return TextServer::Start(rpc_options, options, daemon, &metrics);
  });
}
