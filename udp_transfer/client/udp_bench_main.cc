#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "common/daemon/tool.h"
#include "udp_transfer/client/tcp_copy.h"

namespace {

using namespace ds;  // NOLINT(google-build-using-namespace)

absl::Status PrintLine(const std::string& line) {
  if (std::printf("%s\n", line.c_str()) < 0 || std::fflush(stdout) != 0) {
    return ErrnoError("write to standard output", errno);
  }
  return absl::OkStatus();
}

int TcpSend(const udp_transfer::TcpSendOptions& options, bool json, daemon::Tool* tool) {
  tool->BeginWork();
  const auto result = udp_transfer::SendFileOverTcp(options, tool->interrupt_fd());
  if (!result.ok()) {
    return tool->interrupted() ? tool->InterruptedExitCode() : tool->Fail(result.status());
  }
  char text[200];
  std::snprintf(text, sizeof text, "%llu bytes in %.3f s: %.1f Mbit/s%s",
                static_cast<unsigned long long>(result->bytes), ToSeconds(result->time),
                8e-6 * static_cast<double>(result->bytes) / ToSeconds(result->time),
                result->complete ? "" : ", cut short by --time-limit");
  if (const auto status = PrintLine(json ? result->ToJson() : text); !status.ok()) {
    return tool->Fail(status);
  }
  return daemon::kExitSuccess;
}

int TcpReceive(const udp_transfer::TcpReceiveOptions& options, daemon::Tool* tool) {
  const auto files = udp_transfer::ListenForFiles(options);
  if (!files.ok()) return tool->Fail(files.status());
  tool->BeginWork();
  const std::string ready = "READY udp-bench listen=" + files->listener.local.ToString() +
                            " pid=" + std::to_string(::getpid());
  if (const auto status = PrintLine(ready); !status.ok()) return tool->Fail(status);
  const auto status = udp_transfer::ReceiveFilesOverTcp(*files, options.sync, tool->interrupt_fd());
  return status.ok() ? daemon::kExitSuccess : tool->Fail(status);
}

}  // namespace

int main(int argc, char** argv) {
  daemon::Tool tool({.name = "udp-bench", .summary = "Measures file transfers."});
  auto& flags = tool.flags();
  flags.require_subcommand(1);

  udp_transfer::TcpSendOptions send;
  bool json = false;
  auto* const tcp_send = flags.add_subcommand(
      "tcp-send",
      "Sends one file to tcp-receive, over one TCP socket: what udp-client is measured "
      "beside. Exits 0 also when --time-limit has cut it short");
  tcp_send->add_option("HOST:PORT", send.server, "The receiver")->required();
  tcp_send->add_option("PATH", send.path, "A file")->required();
  tcp_send->add_option("NAME", send.name, "Its name at the receiver (default: as here)");
  tcp_send->add_option("--congestion", send.congestion,
                       "Congestion control: cubic, bbr, … (default: the system's)");
  tcp_send
      ->add_option("--time-limit", send.time_limit_s,
                   "Seconds, after which what was sent so far is the result (default: none)")
      ->check(daemon::Seconds(0.001, 86400));
  tcp_send->add_flag("--json", json, "Print one JSON object");

  udp_transfer::TcpReceiveOptions receive;
  bool no_sync = false;
  auto* const tcp_receive = flags.add_subcommand(
      "tcp-receive", "Receives files from tcp-send, one at a time, until SIGTERM");
  tcp_receive->add_option("--listen", receive.listen, "HOST:PORT")->capture_default_str();
  tcp_receive->add_option("--dir", receive.folder, "Where they go")->capture_default_str();
  tcp_receive->add_flag("--no-sync", no_sync, "Do not wait for the disk");
  tcp_receive->add_flag("--allow-insecure", receive.allow_insecure,
                        "Listen on other addresses than loopback");

  if (const auto code = tool.Parse(argc, argv)) return *code;
  receive.sync = !no_sync;
  return *tcp_send ? TcpSend(send, json, &tool) : TcpReceive(receive, &tool);
}
