#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/daemon/logging.h"
#include "common/daemon/metrics.h"
#include "common/daemon/program.h"
#include "common/daemon/signals.h"
#include "common/net/socket.h"

namespace ds::daemon {

/// What every daemon here can be told. Filled by the flag parser.
struct DaemonOptions {
  std::vector<std::string> listen;  ///< HOST:PORT; wins over `port`
  std::uint16_t port = 0;           ///< on 127.0.0.1 and [::1]
  bool allow_insecure = false;      ///< may leave loopback without TLS
  std::string metrics;              ///< HOST:PORT of the metrics page; empty: none
  double drain_timeout_s = 5;
  bool exit_on_stdin_close = false;
  LogOptions log;
};

/// A running daemon as its frame sees it. Drain() and Reload() are called on threads of the frame,
/// one at a time.
class Service {
 public:
  virtual ~Service() = default;
  /// Stops accepting and finishes what is in flight; returns when that is done, at `deadline` at
  /// the latest.
  virtual void Drain(TimePoint deadline) = 0;
  /// SIGHUP.
  virtual void Reload() {}
  /// Becomes readable when the service has failed, has logged why and will never serve again: the
  /// daemon then ends with exit code 1, without a drain. -1: only a start can fail.
  virtual int failed_fd() const { return -1; }
};

/// What a start function hands back once its listeners accept.
struct Started {
  std::unique_ptr<Service> service;
  std::vector<net::Endpoint> listen{};  ///< for the ready line, first one first; empty: none
  std::vector<std::pair<std::string, std::string>> keys{};  ///< further keys of the ready line
  std::vector<std::string> listen_paths{};                  ///< Unix sockets, behind `listen`
};

/// The frame that all daemons share: options and options file, logging, metrics, ready line and
/// systemd notification, signals, two-stage shutdown, exit codes. Make it first in main(), before
/// any thread exists:
///
///   Daemon daemon({.name = "x-server", .summary = "…"});
///   daemon.AddListenOptions(10880, "-p,--port");
///   daemon.flags().add_option(…);
///   if (const auto code = daemon.Parse(argc, argv)) return *code;
///   return daemon.Run([&](const std::stop_token&, Metrics&) -> absl::StatusOr<Started> { … });
class Daemon {
 public:
  /// Makes everything that is needed to serve. Runs on a thread of its own, so that a signal can
  /// ask it to give up, by kCancelled (exit 0). kInvalidArgument is a configuration error (exit 2),
  /// any other failure exit 1, whether it was asked or not.
  using StartFunction =
      std::function<absl::StatusOr<Started>(const std::stop_token& stop, Metrics& metrics)>;

  explicit Daemon(ProgramInfo info);

  CLI::App& flags() { return flags_; }
  const DaemonOptions& options() const { return options_; }

  /// Adds --listen and the bare-port option `port_flag` (as CLI11 names options).
  void AddListenOptions(std::uint16_t default_port, const std::string& port_flag);

  /// A program with TLS or a key of its own: where `*key_file` is not empty after parsing, --listen
  /// may leave loopback without --allow-insecure. `option` is its name, for the error. Once for
  /// each such option: any one of them is enough.
  void AllowOffLoopbackWithKey(const std::string* key_file, std::string option);

  /// Parses flags and options file and refuses addresses off loopback that were not allowed.
  std::optional<int> Parse(int argc, char** argv);

  /// The addresses that HOST:PORT, the value of `option`, means. kInvalidArgument: it is none, or
  /// one off loopback that was not allowed. For programs with further listeners, after Parse().
  absl::StatusOr<std::vector<net::Endpoint>> Resolve(const std::string& text,
                                                     const std::string& option) const;

  /// Binds what --listen or the port says. For start functions, after their own configuration is
  /// known to be good.
  absl::StatusOr<std::vector<net::Listener>> Bind() const;

  /// For programs that do not listen by TCP: what --listen says; empty: the port on loopback.
  const std::vector<net::Endpoint>& listen() const { return listen_; }

  /// Serves until a signal, or a failure of the service; returns the exit code.
  int Run(const StartFunction& start);

 private:
  absl::Status ResolveAddresses();
  absl::Status PrintReadyLine(const Started& started, const net::Endpoint* metrics);
  void DumpStatistics();
  enum class Wake { kWorkDone, kStop, kReload, kFailed };
  Wake WaitForEvent(int work_done_fd, int failed_fd, bool serving);

  const ProgramInfo info_;
  SignalFd signals_;
  CLI::App flags_;
  DaemonOptions options_;
  std::vector<net::Endpoint> listen_;
  std::vector<std::pair<const std::string*, std::string>> key_files_;  ///< with their options
  std::optional<net::Endpoint> metrics_endpoint_;
  Metrics metrics_;
  bool stdin_open_ = false;
};

}  // namespace ds::daemon
