#include "common/daemon/daemon.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>
#include <sstream>
#include <thread>

#include "common/base/check.h"
#include "common/daemon/metrics_server.h"
#include "common/daemon/options_file.h"

namespace ds::daemon {
namespace {

/// Runs `work` on a thread and makes a descriptor readable when it is done.
class BackgroundWork {
 public:
  template <typename Work>
  explicit BackgroundWork(Work work)
      : done_(::eventfd(0, EFD_CLOEXEC)), thread_([this, work](const std::stop_token& stop) {
          work(stop);
          const std::uint64_t one = 1;
          CHECK(::write(done_.get(), &one, sizeof one) == sizeof one);
        }) {
    CHECK(done_, "eventfd");
  }
  int done_fd() const { return done_.get(); }
  void RequestStop() { thread_.request_stop(); }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  UniqueFd done_;
  std::jthread thread_;
};

}  // namespace

Daemon::Daemon(ProgramInfo info)
    : info_(std::move(info)), signals_({SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
  PermitClosedOutput();  // who closes it wants no ready line
  FailIfOutputIsLost(info_.name);
  DescribeProgram(flags_, info_);
  flags_.add_flag("--allow-insecure", options_.allow_insecure,
                  "Permit addresses other than loopback, without encryption");
  flags_.add_option("--log-level", options_.log.level, "Least severe log line to print")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}))
      ->capture_default_str();
  flags_.add_option("--log-format", options_.log.format, "Form of the log lines on stderr")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  flags_.add_option("--metrics", options_.metrics,
                    "HOST:PORT of a Prometheus page at /metrics, and of /healthz (default: none)");
  flags_
      .add_option("--drain-timeout", options_.drain_timeout_s,
                  "Seconds that a shutdown waits for work in flight")
      ->check(Seconds(0, 86400))
      ->capture_default_str();
  flags_.add_flag("--exit-on-stdin-close", options_.exit_on_stdin_close,
                  "Shut down when standard input closes");
  flags_.set_config("--options", "", "TOML file with any of these options (default: none)")
      ->check(SmallFile());
  flags_.config_formatter(std::make_shared<OptionsFile>(&flags_));
  flags_.allow_config_extras(false);
}

void Daemon::AddListenOptions(std::uint16_t default_port, const std::string& port_flag) {
  options_.port = default_port;
  flags_.add_option("--listen", options_.listen,
                    "HOST:PORT to listen on; may be repeated; wins over the port "
                    "(default: the port on 127.0.0.1 and [::1])");
  flags_.add_option(port_flag, options_.port, "Port on 127.0.0.1 and [::1]; 0: any free one")
      ->check(Count(0, 65535))
      ->capture_default_str();
}

void Daemon::AllowOffLoopbackWithKey(const std::string* key_file, std::string option) {
  key_files_.emplace_back(key_file, std::move(option));
}

std::optional<int> Daemon::Parse(int argc, char** argv) {
  if (const auto code = ParseFlags(flags_, info_.name, argc, argv)) return code;
  SetUpLogging(info_.name, options_.log);
  if (const absl::Status status = ResolveAddresses(); !status.ok()) {
    return FailWith(info_.name, status);
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<net::Endpoint>> Daemon::Resolve(const std::string& text,
                                                           const std::string& option) const {
  const auto refuse = [&](const absl::Status& why) {
    return InvalidArgument(fmt::format("{} {}: {}", option, text, Message(why)));
  };
  auto host_port = net::HostPort::Parse(text);
  if (!host_port.ok()) return refuse(host_port.status());
  auto endpoints = net::Endpoint::Resolve(*host_port);
  if (!endpoints.ok()) return refuse(endpoints.status());
  bool has_key = false;
  std::string key_options;
  for (const auto& [file, key_option] : key_files_) {
    has_key |= option == "--listen" && !file->empty();
    key_options += key_option + ", ";
  }
  for (const auto& endpoint : *endpoints) {
    if (!endpoint.IsLoopback() && !options_.allow_insecure && !has_key) {
      return refuse(
          InvalidArgument(fmt::format("refused: not a loopback address, and nothing encrypts or "
                                      "authenticates what is served (see {}--allow-insecure)",
                                      key_options)));
    }
  }
  return endpoints;
}

absl::Status Daemon::ResolveAddresses() {
  for (const std::string& text : options_.listen) {
    ASSIGN_OR_RETURN(const auto endpoints, Resolve(text, "--listen"));
    listen_.insert(listen_.end(), endpoints.begin(), endpoints.end());
  }
  if (!options_.metrics.empty()) {
    ASSIGN_OR_RETURN(const auto endpoints, Resolve(options_.metrics, "--metrics"));
    metrics_endpoint_ = endpoints.front();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<net::Listener>> Daemon::Bind() const {
  if (listen_.empty()) {
    auto listeners = net::ListenLoopback(options_.port);
    if (listeners.ok() && listeners->size() == 1) {
      spdlog::warn("no IPv6 on this machine: listening on 127.0.0.1 only");
    }
    return listeners;
  }
  std::vector<net::Listener> listeners;
  for (const net::Endpoint& endpoint : listen_) {
    ASSIGN_OR_RETURN(net::Listener listener, net::ListenTcp(endpoint));
    listeners.push_back(std::move(listener));
  }
  return listeners;
}

int Daemon::Run(const StartFunction& start) {
  stdin_open_ = options_.exit_on_stdin_close;
  std::unique_ptr<MetricsServer> metrics_server;
  if (metrics_endpoint_) {
    auto started = MetricsServer::Start(*metrics_endpoint_, &metrics_);
    if (!started.ok()) return FailWith(info_.name, started.status());
    metrics_server = std::move(started).value();
  }

  absl::StatusOr<Started> started = Unavailable("not started");
  {
    BackgroundWork work([&](const std::stop_token& stop) { started = start(stop, metrics_); });
    bool stopped = false;
    for (;;) {
      const Wake wake = WaitForEvent(work.done_fd(), -1, /*serving=*/false);
      if (wake == Wake::kWorkDone) break;
      if (wake == Wake::kStop) {
        if (stopped) ::_exit(kExitFailure);
        stopped = true;
        work.RequestStop();
      }
    }
    work.Join();
    // Told to end meanwhile: a start that fails by itself has still failed.
    if (stopped && (started.ok() || absl::IsCancelled(started.status()))) return kExitSuccess;
  }
  if (!started.ok()) return FailWith(info_.name, started.status());
  Service& service = *started->service;

  if (metrics_server) metrics_server->SetHealthy(true);
  // Scripts wait for this line: a daemon that cannot say it is of no use to them.
  if (const absl::Status printed =
          PrintReadyLine(*started, metrics_server ? &metrics_server->local() : nullptr);
      !printed.ok()) {
    return FailWith(info_.name, printed);
  }
  // A reload runs beside, so that a slow disk does not make the daemon deaf to its end. One that is
  // asked for meanwhile follows it.
  std::optional<BackgroundWork> reload;
  bool reload_again = false;
  for (;;) {
    const Wake wake =
        WaitForEvent(reload ? reload->done_fd() : -1, service.failed_fd(), /*serving=*/true);
    if (wake == Wake::kStop) break;
    if (wake == Wake::kFailed) {
      if (metrics_server) metrics_server->SetHealthy(false);
      if (reload) reload->Join();
      started->service.reset();
      return kExitFailure;
    }
    if (wake == Wake::kWorkDone) {
      reload->Join();
      reload.reset();
    }
    reload_again |= wake == Wake::kReload;
    if (reload_again && !reload) {
      reload_again = false;
      reload.emplace([&](const std::stop_token&) { service.Reload(); });
    }
  }

  spdlog::info("shutting down, at most {} s for work in flight", options_.drain_timeout_s);
  ::sd_notify(0, "STOPPING=1");
  if (metrics_server) metrics_server->SetHealthy(false);
  const auto deadline = std::chrono::steady_clock::now() + FromSeconds(options_.drain_timeout_s);
  BackgroundWork work([&](const std::stop_token&) {
    if (reload) reload->Join();
    service.Drain(deadline);
  });
  stdin_open_ = false;  // its closing has nothing more to say
  for (;;) {
    const Wake wake = WaitForEvent(work.done_fd(), -1, /*serving=*/false);
    if (wake == Wake::kWorkDone) break;
    if (wake == Wake::kStop) {
      spdlog::warn("second signal: ending at once");
      ::_exit(kExitFailure);
    }
  }
  work.Join();
  started->service.reset();
  return kExitSuccess;
}

Daemon::Wake Daemon::WaitForEvent(int work_done_fd, int failed_fd, bool serving) {
  for (;;) {
    // No place is left empty: poll(2) refuses more places than the limit of open files.
    pollfd fds[4];
    nfds_t count = 0;
    const auto watch = [&](int fd) -> const pollfd* {
      if (fd < 0) return nullptr;
      fds[count] = {fd, POLLIN, 0};
      return &fds[count++];
    };
    watch(signals_.fd());
    const pollfd* const input = watch(stdin_open_ ? STDIN_FILENO : -1);
    const pollfd* const work_done = watch(work_done_fd);
    const pollfd* const failed = watch(failed_fd);
    if (::poll(fds, count, -1) < 0) {
      CHECK(errno == EINTR, "poll");
      continue;
    }
    while (const auto signal = signals_.Take()) {
      if (*signal == SIGUSR1) DumpStatistics();
      if (*signal == SIGHUP && serving) return Wake::kReload;
      if (*signal == SIGINT || *signal == SIGTERM) return Wake::kStop;
    }
    if (input != nullptr && input->revents != 0) {
      char ignored[512];
      const ssize_t n = ::read(STDIN_FILENO, ignored, sizeof ignored);
      if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        stdin_open_ = false;
        return Wake::kStop;
      }
    }
    if (work_done != nullptr && work_done->revents != 0) return Wake::kWorkDone;
    if (failed != nullptr && failed->revents != 0) return Wake::kFailed;
  }
}

absl::Status Daemon::PrintReadyLine(const Started& started, const net::Endpoint* metrics) {
  std::vector<std::string> listen;
  for (const auto& endpoint : started.listen) listen.push_back(endpoint.ToString());
  for (const auto& path : started.listen_paths) listen.push_back("unix:" + path);
  std::string line = fmt::format("READY {}", info_.name);
  if (!listen.empty()) line += fmt::format(" listen={}", fmt::join(listen, ","));
  line += fmt::format(" pid={}", ::getpid());
  if (metrics != nullptr) line += fmt::format(" metrics={}", metrics->ToString());
  for (const auto& [key, value] : started.keys) line += fmt::format(" {}={}", key, value);
  if (std::puts(line.c_str()) < 0 || std::fflush(stdout) != 0) {
    return ErrnoError("print the ready line", errno);
  }
  ::sd_notify(0, "READY=1");
  return absl::OkStatus();
}

void Daemon::DumpStatistics() {
  std::istringstream text(metrics_.Text());
  for (std::string line; std::getline(text, line);) {
    const bool bucket = line.find("_bucket{") != std::string::npos;
    if (!line.empty() && line.front() != '#' && !bucket) spdlog::info("statistics: {}", line);
  }
}

}  // namespace ds::daemon
