#include "common/load/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>

namespace ds::load {
namespace {

struct Quantile {
  const char* key;
  const char* name;
  double q;
};
constexpr std::array<Quantile, 5> kQuantiles = {{{"p50", "p50", 0.5},
                                                 {"p90", "p90", 0.9},
                                                 {"p99", "p99", 0.99},
                                                 {"p999", "p99.9", 0.999},
                                                 {"p9999", "p99.99", 0.9999}}};

constexpr double kBusy = 0.9;        // of the cores the client's threads could use
constexpr double kLateShare = 0.01;  // of the requests

double Rate(double n, double seconds) { return seconds > 0 ? n / seconds : 0; }

/// "812 ns", "61.2 us", "1.92 ms", "12.3 s": three digits or so.
std::string FormatNs(double ns) {
  constexpr std::array kUnits = {"ns", "us", "ms", "s"};
  std::size_t unit = 0;
  while (ns >= 1000 && unit + 1 < kUnits.size()) {
    ns /= 1000;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", ns, unit == 0 || ns >= 100 ? 0 : ns >= 10 ? 1 : 2, kUnits[unit]);
}

std::string FormatNs(std::uint64_t ns) { return FormatNs(static_cast<double>(ns)); }

std::string FormatRate(double bytes_per_second) {
  return bytes_per_second >= 1e9 ? fmt::format("{:.2f} GB/s", bytes_per_second / 1e9)
                                 : fmt::format("{:.2f} MB/s", bytes_per_second / 1e6);
}

}  // namespace

void LoadTally::AddError(std::string_view kind, std::string_view example) {
  auto entry = errors.find(kind);
  if (entry == errors.end()) entry = errors.emplace(kind, Error{0, std::string(example)}).first;
  ++entry->second.count;
}

void LoadTally::Merge(const LoadTally& other) {
  latency.Merge(other.latency);
  bytes += other.bytes;
  for (const auto& [kind, error] : other.errors) {
    errors.try_emplace(kind, Error{0, error.example}).first->second.count += error.count;
  }
  late_starts += other.late_starts;
}

void LoadTally::Clear() {
  latency.Clear();
  bytes = 0;
  errors.clear();
  late_starts = 0;
}

std::uint64_t LoadTally::ErrorCount() const {
  std::uint64_t count = 0;
  for (const auto& [kind, error] : errors) count += error.count;
  return count;
}

std::optional<std::string> LoadReport::Unbegun() const {
  if (never_begun == 0) return std::nullopt;
  return fmt::format("{} requests were due and had not begun when the time was over", never_begun);
}

std::optional<std::string> LoadReport::Bottleneck() const {
  const double cores_used = client_cpu_fraction * threads;
  const unsigned cores_usable = std::min(threads, cores);
  if (cores_used >= kBusy * cores_usable) {
    return fmt::format(
        "the client was the bottleneck: it kept {:.0f} % of {} busy{}",
        100 * cores_used / cores_usable,
        cores_usable == 1 ? "the one core it can use" : fmt::format("its {} cores", cores_usable),
        cores_usable == threads && threads < cores ? "; give it more threads" : "");
  }
  const auto late = static_cast<double>(tally.late_starts);
  const auto all = static_cast<double>(tally.requests() + tally.ErrorCount());
  if (tally.late_starts > 0 && late >= kLateShare * all) {
    return fmt::format(
        "the client was the bottleneck: {:.1f} % of its requests began over {} late though a "
        "connection was free",
        std::min(100.0, 100 * late / all), FormatNs(kLateNs));
  }
  return std::nullopt;
}

std::string LoadReport::ToText() const {
  std::string text;
  const auto row = [&](std::string_view name, const std::string& value) {
    fmt::format_to(std::back_inserter(text), "{:<10}{}\n", name, value);
  };
  row("load",
      fmt::format("{}, {} thread{}, {} connection{}, {:.2f} s", protocol, threads,
                  threads == 1 ? "" : "s", connections, connections == 1 ? "" : "s", seconds));
  row("requests", fmt::format("{}  {:.1f}/s", tally.requests(),
                              Rate(static_cast<double>(tally.requests()), seconds)));
  row("bytes", fmt::format("{}  {}", tally.bytes,
                           FormatRate(Rate(static_cast<double>(tally.bytes), seconds))));
  std::string kinds;
  for (const auto& [kind, error] : tally.errors) kinds += fmt::format("  {} {}", kind, error.count);
  row("errors", std::to_string(tally.ErrorCount()) + kinds);
  if (tally.requests() > 0) {
    std::string latency = "mean " + FormatNs(tally.latency.Mean());
    for (const auto& quantile : kQuantiles) {
      latency += fmt::format("  {} {}", quantile.name,
                             FormatNs(tally.latency.ValueAtQuantile(quantile.q)));
    }
    row("latency", latency + "  max " + FormatNs(tally.latency.max()));
  }
  row("client", fmt::format("{:.0f} % of {} thread{} busy", 100 * client_cpu_fraction, threads,
                            threads == 1 ? "" : "s"));
  if (const auto unbegun = Unbegun()) row("note", *unbegun);
  if (const auto bottleneck = Bottleneck()) row("note", *bottleneck);
  return text;
}

std::string LoadReport::ToJson() const {
  nlohmann::ordered_json json;
  json["protocol"] = protocol;
  json["connections"] = connections;
  json["threads"] = threads;
  json["seconds"] = seconds;
  json["requests"] = tally.requests();
  json["errors"] = nlohmann::ordered_json::object();
  for (const auto& [kind, error] : tally.errors) json["errors"][kind] = error.count;
  json["bytes"] = tally.bytes;
  json["requests_per_second"] = Rate(static_cast<double>(tally.requests()), seconds);
  json["bytes_per_second"] = Rate(static_cast<double>(tally.bytes), seconds);
  auto& latency = json["latency_us"];
  latency["mean"] = tally.latency.Mean() / 1000;
  for (const auto& quantile : kQuantiles) {
    latency[quantile.key] = static_cast<double>(tally.latency.ValueAtQuantile(quantile.q)) / 1000;
  }
  latency["max"] = static_cast<double>(tally.latency.max()) / 1000;
  json["client_cpu_fraction"] = client_cpu_fraction;
  return json.dump();
}

std::string IntervalLine(double elapsed_s, double interval_s, const LoadTally& tally) {
  return fmt::format("{:6.1f} s  {:.0f} req/s  {}  p50 {}  p99 {}  {} errors", elapsed_s,
                     Rate(static_cast<double>(tally.requests()), interval_s),
                     FormatRate(Rate(static_cast<double>(tally.bytes), interval_s)),
                     FormatNs(tally.latency.ValueAtQuantile(0.5)),
                     FormatNs(tally.latency.ValueAtQuantile(0.99)), tally.ErrorCount());
}

}  // namespace ds::load
