#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "common/daemon/tool.h"
#include "nlohmann/json.hpp"
#include "tests/ipc_proxy_cache/cache_traces.h"

namespace {

using namespace ds;  // NOLINT(google-build-using-namespace)
using ipc_proxy_cache::HitRatio;
using ipc_proxy_cache::Trace;

struct Policy {
  const char* name;
  HitRatio (*measure)(const Trace&);
};
constexpr Policy kPolicies[] = {{"tiny_lfu", ipc_proxy_cache::MeasureTinyLfu},
                                {"lru", ipc_proxy_cache::MeasureLru},
                                {"min", ipc_proxy_cache::MeasureMin},
                                {"bound", ipc_proxy_cache::MeasureBound}};

std::string Percent(double ratio) {
  char text[16];
  const int length = std::snprintf(text, sizeof text, "%6.1f", ratio * 100);
  return {text, static_cast<std::size_t>(length)};
}

std::string Padded(std::string text, std::size_t columns) {
  text.resize(std::max(text.size(), columns), ' ');
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  daemon::Tool tool({.name = "ipc-cache-traces",
                     .summary =
                         "Prints the hit ratios of getfile-cached's eviction (W-TinyLFU), of "
                         "LRU, of the clairvoyant MIN, and an upper bound (PFOO-U), on "
                         "synthetic traces: shares of requests and of bytes."});
  std::size_t requests = 300000;
  std::uint64_t seed = 1;
  bool json = false;
  tool.flags()
      .add_option("-n,--requests", requests, "Requests in each trace")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  tool.flags().add_option("--seed", seed, "Seed of the traces")->capture_default_str();
  tool.flags().add_flag("--json", json, "Print one JSON array in place of the table");
  if (const auto code = tool.Parse(argc, argv)) return *code;

  auto rows = nlohmann::json::array();
  constexpr std::size_t kNameColumns = 32;
  std::string text = Padded("requests, bytes: %", kNameColumns);
  for (const Policy& policy : kPolicies) text += Padded(std::string("  ") + policy.name, 14);
  text += "  ns per request\n";
  for (const Trace& trace : ipc_proxy_cache::AllTraces(requests, seed)) {
    nlohmann::json row = {{"trace", trace.name}, {"capacity_bytes", trace.capacity_bytes}};
    text += Padded(trace.name, kNameColumns);
    double ns = 0;
    for (const Policy& policy : kPolicies) {
      const auto begin = std::chrono::steady_clock::now();
      const HitRatio ratio = policy.measure(trace);
      const std::chrono::duration<double, std::nano> lasted =
          std::chrono::steady_clock::now() - begin;
      if (&policy == &kPolicies[0]) ns = lasted.count() / static_cast<double>(requests);
      row[policy.name] = {{"objects", ratio.objects}, {"bytes", ratio.bytes}};
      text += Percent(ratio.objects) + " " + Percent(ratio.bytes) + " ";
    }
    row["ns_per_request"] = ns;
    text += "  " + std::to_string(static_cast<std::uint64_t>(ns)) + "\n";
    rows.push_back(std::move(row));
  }
  if (json) text = rows.dump(2) + "\n";
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return tool.Fail(ErrnoError("write to standard output", errno));
  }
  return daemon::kExitSuccess;
}
