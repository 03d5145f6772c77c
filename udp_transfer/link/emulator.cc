#include "udp_transfer/link/emulator.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "common/daemon/signals.h"
#include "udp_transfer/link/process_tree.h"
#include "udp_transfer/link/relay.h"
#include "udp_transfer/link/side.h"

namespace ds::udp_transfer {
namespace {

constexpr std::array<const char*, 2> kDirections{"a_to_b", "b_to_a"};
constexpr const char* kProgram = "link-emulator";
/// Where everybody finds the namespaces of a running emulator: /proc/PID/fd/100 and 101.
constexpr int kNamespaceFd = 100;
constexpr Duration kBoundInterval = std::chrono::milliseconds(5);

TimePoint Now() { return std::chrono::steady_clock::now(); }

absl::Status PrintLine(const std::string& line) {
  if (std::printf("%s\n", line.c_str()) < 0 || std::fflush(stdout) != 0) {
    return ErrnoError("write to standard output", errno);
  }
  return absl::OkStatus();
}

/// One run, from the namespaces to the counters. Its members end in the opposite order: first the
/// programs, then the relays, then the namespaces.
class Emulation {
 public:
  Emulation(const EmulatorOptions& options, daemon::Tool* tool)
      : options_(options), tool_(*tool), on_demand_({SIGUSR1, SIGHUP}) {}

  absl::Status Start() {
    ASSIGN_OR_RETURN(const auto links, options_.Links());
    RETURN_IF_ERROR(EnterUserNamespaceIfNeeded());
    for (const SideName name : {SideName::kA, SideName::kB}) {
      ASSIGN_OR_RETURN(Side side, Side::Create(name, options_.mtu));
      const int fd = kNamespaceFd + static_cast<int>(name);
      if (::dup3(side.namespace_fd(), fd, O_CLOEXEC) != fd) {
        return ErrnoError("keep a network namespace", errno);
      }
      sides_.push_back(std::move(side));
    }
    for (std::size_t i = 0; i < 2; ++i) {
      // Each direction has a seed of its own, and one with the same options another sequence.
      ASSIGN_OR_RETURN(auto relay, Relay::Start(sides_[i].tun_fd(), sides_[1 - i].tun_fd(),
                                                options_.mtu, links[i], 2 * options_.seed + i));
      relays_.push_back(std::move(relay));
    }
    ASSIGN_OR_RETURN(tree_, ProcessTree::Create());
    return absl::OkStatus();
  }

  absl::Status StartServers() {
    for (const std::string& server : options_.servers) {
      const std::size_t bound_before = sides_[1].BoundSockets();
      ASSIGN_OR_RETURN(auto child, tree_->Start(sides_[1], SideName::kB, {"/bin/sh", "-c", server},
                                                ProcessTree::Streams::kServer));
      servers_.push_back(std::move(child));
      const TimePoint deadline = Now() + FromSeconds(options_.server_timeout_s);
      while (sides_[1].BoundSockets() <= bound_before) {
        if (tool_.interrupted()) return absl::CancelledError();
        if (Ended(servers_.back())) {
          const int code = ProcessTree::TakeExitCode(servers_.back());
          servers_.pop_back();
          return Error(
              absl::StatusCode::kUnavailable,
              fmt::format("start server \"{}\": it ended with exit code {}", server, code));
        }
        if (Now() > deadline) {
          return Error(absl::StatusCode::kDeadlineExceeded,
                       fmt::format("start server \"{}\": no socket of it is bound after {} s (see "
                                   "--server-timeout)",
                                   server, options_.server_timeout_s));
        }
        std::this_thread::sleep_for(kBoundInterval);
      }
    }
    return absl::OkStatus();
  }

  /// Runs the command, or prints the ready line, and waits for the end. The exit code.
  absl::StatusOr<int> Serve() {
    if (options_.command.empty()) {
      RETURN_IF_ERROR(PrintLine(
          fmt::format("READY {} pid={} a={} b={} a6={} b6={} netns_a=/proc/{}/fd/{} "
                      "netns_b=/proc/{}/fd/{}",
                      kProgram, ::getpid(), kSideAddresses[0].ipv4, kSideAddresses[1].ipv4,
                      kSideAddresses[0].ipv6, kSideAddresses[1].ipv6, ::getpid(), kNamespaceFd,
                      ::getpid(), kNamespaceFd + 1)));
    } else {
      ASSIGN_OR_RETURN(command_, tree_->Start(sides_[0], SideName::kA, options_.command,
                                              ProcessTree::Streams::kInherit));
    }
    while (true) {
      std::vector<pollfd> fds{{tool_.interrupt_fd(), POLLIN, 0},
                              {on_demand_.fd(), POLLIN, 0},
                              {options_.exit_on_stdin_close ? STDIN_FILENO : -1, POLLIN, 0},
                              {command_ ? command_->pid_fd.get() : -1, POLLIN, 0}};
      if (::poll(fds.data(), fds.size(), -1) < 0) continue;
      if (fds[3].revents != 0) {
        const int code = ProcessTree::TakeExitCode(*command_);
        command_.reset();
        return code;
      }
      if (fds[0].revents != 0) {
        // As a daemon its end is what was asked for; a command was cut short.
        const int code = tool_.InterruptedExitCode();
        return options_.command.empty() ? daemon::kExitSuccess : code;
      }
      if (fds[1].revents != 0 && on_demand_.Take() == SIGUSR1) PrintCounters();
      if (fds[2].revents != 0) {
        char bytes[512];
        if (::read(STDIN_FILENO, bytes, sizeof bytes) == 0) return daemon::kExitSuccess;
      }
    }
  }

  /// SIGTERM for all that was started, SIGKILL after the drain timeout or at a second signal.
  void Stop() {
    std::vector<ProcessTree::Child> rest = std::move(servers_);
    if (command_) rest.push_back(*std::exchange(command_, std::nullopt));
    for (const auto& child : rest) ::kill(child.pid, SIGTERM);
    const TimePoint deadline = Now() + FromSeconds(options_.drain_timeout_s);
    for (const auto& child : rest) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Now());
      std::array<pollfd, 2> fds{
          {{child.pid_fd.get(), POLLIN, 0}, {tool_.interrupt_fd(), POLLIN, 0}}};
      if (::poll(fds.data(), fds.size(), std::max(0, static_cast<int>(left.count()))) == 0 ||
          fds[1].revents != 0) {
        break;
      }
    }
    tree_.reset();
  }

  /// One object: what became of the packets of each direction, by the names in relay.h.
  std::string CountersAsJson() const {
    nlohmann::ordered_json json;
    for (std::size_t i = 0; i < 2; ++i) {
      for (const auto& [name, value] : Counters(i)) json[kDirections[i]][name] = value;
    }
    return json.dump();
  }

  /// On stderr, a line for each direction; what is 0 is left out.
  void PrintCounters() const {
    for (std::size_t i = 0; i < 2; ++i) {
      std::string line = fmt::format("{}: {}:", kProgram, kDirections[i]);
      for (const auto& [name, value] : Counters(i)) {
        if (value != 0) line += fmt::format(" {} {}", name, value);
      }
      std::fprintf(stderr, "%s\n", line.c_str());
    }
  }

 private:
  static bool Ended(const ProcessTree::Child& child) {
    pollfd fd{child.pid_fd.get(), POLLIN, 0};
    return ::poll(&fd, 1, 0) == 1;
  }

  std::vector<std::pair<const char*, std::uint64_t>> Counters(std::size_t direction) const {
    const DirectionCounters& of = relays_[direction]->counters();
    const std::uint64_t done = of.delivered.Get() + of.refused.Get();
    return {{"packets", of.packets.Get()},
            {"bytes", of.bytes.Get()},
            {"queue_dropped", of.queue_dropped.Get()},
            {"lost", of.lost.Get()},
            {"corrupted", of.corrupted.Get()},
            {"duplicated", of.duplicated.Get()},
            {"reordered", of.reordered.Get()},
            {"delivered", of.delivered.Get()},
            {"delivered_bytes", of.delivered_bytes.Get()},
            {"refused", of.refused.Get()},
            {"overflowed", of.overflowed.Get()},
            {"dropped_by_device", sides_[direction].DroppedByDevice()},
            {"queue_bytes_max", of.queue_bytes_max.Get()},
            {"late_us_mean", done == 0 ? 0 : of.late_us.Get() / done},
            {"late_us_max", of.late_us_max.Get()}};
  }

  const EmulatorOptions& options_;
  daemon::Tool& tool_;
  daemon::SignalFd on_demand_;
  std::vector<Side> sides_;
  std::vector<std::unique_ptr<Relay>> relays_;
  std::unique_ptr<ProcessTree> tree_;
  std::vector<ProcessTree::Child> servers_;
  std::optional<ProcessTree::Child> command_;
};

}  // namespace

int RunEmulator(const EmulatorOptions& options, daemon::Tool* tool) {
  tool->BeginWork();
  Emulation emulation(options, tool);
  if (const auto status = emulation.Start(); !status.ok()) return tool->Fail(status);
  const auto served = [&]() -> absl::StatusOr<int> {
    if (const auto status = emulation.StartServers(); !status.ok()) {
      if (absl::IsCancelled(status)) return tool->InterruptedExitCode();
      return status;
    }
    return emulation.Serve();
  }();
  emulation.Stop();
  if (!served.ok()) return tool->Fail(served.status());
  if (options.json) {
    if (const auto status = PrintLine(emulation.CountersAsJson()); !status.ok()) {
      return tool->Fail(status);
    }
  } else if (!options.quiet) {
    emulation.PrintCounters();
  }
  return *served;
}

absl::Status JoinEmulator(const EmulatorOptions& options) {
  const std::size_t colon = options.join.find(':');
  const auto pid = ParseDecimal(std::string_view(options.join).substr(0, colon));
  const std::string side = colon == std::string::npos ? "" : options.join.substr(colon + 1);
  if (!pid || *pid == 0 || *pid > INT32_MAX || (side != "a" && side != "b")) {
    return InvalidArgument(
        fmt::format("parse --join \"{}\": not PID:a or PID:b, with the pid of a "
                    "running emulator",
                    EscapeBytes(options.join)));
  }
  if (options.command.empty()) return InvalidArgument("join a link: no COMMAND is given");
  const std::string path =
      fmt::format("/proc/{}/fd/{}", *pid, kNamespaceFd + (side == "b" ? 1 : 0));
  UniqueFd network(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!network) return ErrnoError(fmt::format("open {}", path), errno);
  if (::setns(network.get(), CLONE_NEWNET) != 0) {
    // The namespace of an emulator that was not started by root.
    UniqueFd process = OpenPidFd(static_cast<pid_t>(*pid));
    if (!process || ::setns(process.get(), CLONE_NEWUSER) != 0 ||
        ::setns(network.get(), CLONE_NEWNET) != 0) {
      return ErrnoError(fmt::format("enter {}", path), errno);
    }
  }
  std::signal(SIGPIPE, SIG_DFL);
  std::vector<std::string> arguments = options.command;
  std::vector<char*> pointers;
  pointers.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  ::execvp(pointers[0], pointers.data());
  return ErrnoError(fmt::format("start \"{}\"", arguments[0]), errno);
}

}  // namespace ds::udp_transfer
