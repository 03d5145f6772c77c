#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/daemon/progress_meter.h"
#include "common/daemon/tool.h"
#include "ipc_proxy_cache/control/control_link.h"
#include "ipc_proxy_cache/control/doctor.h"
#include "ipc_proxy_cache/link/socket_path.h"

namespace {

using namespace ds;  // NOLINT(google-build-using-namespace)
using ipc_proxy_cache::Report;

void PrintJson(const Report& report) {
  nlohmann::ordered_json json{{"objects", report.objects},
                              {"bytes", report.bytes},
                              {"memory", report.memory},
                              {"retired_bytes", report.retired_bytes},
                              {"hits", report.hits},
                              {"misses", report.misses},
                              {"coalesced", report.coalesced},
                              {"stale", report.stale},
                              {"passed", report.passed},
                              {"evicted", report.evicted},
                              {"bytes_saved", report.bytes_saved},
                              {"proxies", nlohmann::ordered_json::array()}};
  for (const auto& link : report.links) {
    json["proxies"].push_back({{"link", link.link},
                               {"name", link.name},
                               {"pid", link.pid},
                               {"uid", link.uid},
                               {"retired_bytes", link.retired_bytes},
                               {"fills_led", link.fills_led}});
  }
  fmt::print("{}\n", json.dump());
}

void PrintText(const Report& report) {
  const auto bytes = [](std::uint64_t n) { return daemon::FormatBytes(static_cast<double>(n)); };
  fmt::print("objects {}, {} of {} used, {} retired but held\n", report.objects,
             bytes(report.bytes), bytes(report.memory), bytes(report.retired_bytes));
  fmt::print("hits {}, misses {}, coalesced {}, stale {}, passed {}, evicted {}, saved {}\n",
             report.hits, report.misses, report.coalesced, report.stale, report.passed,
             report.evicted, bytes(report.bytes_saved));
  for (const auto& link : report.links) {
    fmt::print("proxy {}: pid {}, uid {}, link {}, leads {}, holds {} retired\n", link.name,
               link.pid, link.uid, link.link, link.fills_led, bytes(link.retired_bytes));
  }
}

}  // namespace

int main(int argc, char** argv) {
  daemon::Tool tool({.name = "getfile-cachectl",
                     .summary = "Looks at, and purges, the cache that getfile-cached keeps."});
  std::string socket;
  std::vector<uid_t> cache_uids;
  bool json = false;
  bool soft = false;
  bool prefix = false;
  std::string path;
  auto& flags = tool.flags();
  flags.require_subcommand(1);
  flags.fallthrough();
  flags.add_option("--socket", socket,
                   "Path of the cache's socket (default: getfile-cached.sock in the first of "
                   "/run/getfile-cached, $XDG_RUNTIME_DIR, /tmp/getfile-cached-<uid>)");
  flags.add_option("--cache-uid", cache_uids,
                   "A further user whose cache is trusted; may be repeated (default: ours, root)");
  auto* const status = flags.add_subcommand("status", "Prints counters, memory and proxies");
  status->add_flag("--json", json, "As one JSON object");
  auto* const purge = flags.add_subcommand("purge", "Drops what is kept for a path");
  purge->add_flag("--soft", soft, "It is stale from now on, and revalidated, instead of dropped");
  purge->add_flag("--prefix", prefix, "Everything whose path begins so");
  purge->add_option("PATH", path, "A path, of whichever origin, or a whole URL")->required();
  auto* const doctor = flags.add_subcommand(
      "doctor", "Looks for what dead processes left; exit code 1 if there is something");
  if (const auto code = tool.Parse(argc, argv)) return *code;

  // NOLINTNEXTLINE(concurrency-mt-unsafe): there is no other thread yet
  const char* const runtime_dir = std::getenv("XDG_RUNTIME_DIR");
  const std::vector<std::string> paths =
      socket.empty() ? ipc_proxy_cache::DefaultSocketPaths(
                           runtime_dir == nullptr ? "" : runtime_dir, ::geteuid())
                     : std::vector<std::string>{socket};
  if (doctor->parsed()) {
    const std::vector<std::string> found = ipc_proxy_cache::FindLeftovers(paths, cache_uids);
    for (const std::string& line : found) fmt::print("{}\n", line);
    if (found.empty()) fmt::print("nothing stale\n");
    return found.empty() ? daemon::kExitSuccess : daemon::kExitFailure;
  }
  tool.BeginWork();
  auto link = ipc_proxy_cache::ControlLink::Connect(paths, cache_uids, tool.interrupt_fd());
  if (tool.interrupted()) return tool.InterruptedExitCode();
  if (!link.ok()) return tool.Fail(link.status());
  if (purge->parsed()) {
    const auto purged = link->RequestPurge(path, prefix, soft);
    if (tool.interrupted()) return tool.InterruptedExitCode();
    if (!purged.ok()) return tool.Fail(purged.status());
    fmt::print("purged {}\n", *purged);
  } else if (status->parsed()) {
    const auto report = link->AskStatus();
    if (tool.interrupted()) return tool.InterruptedExitCode();
    if (!report.ok()) return tool.Fail(report.status());
    json ? PrintJson(*report) : PrintText(*report);
  }
  return daemon::kExitSuccess;
}
