#include "udp_transfer/link/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "common/base/parse.h"

namespace ds::udp_transfer {
namespace {

constexpr double kMillisecondsMax = 3'600'000;
constexpr double kMbitMin = 0.0001;
constexpr double kMbitMax = 1'000'000;
constexpr std::uint64_t kQueuePacketsMin = 64;
constexpr std::uint64_t kQueueBytesMax = 1ULL << 32U;

/// A decimal number between the bounds, nothing around it.
std::optional<double> ParseNumber(std::string_view text, double min, double max) {
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!(value >= min && value <= max)) return std::nullopt;
  return value;
}

std::array<std::string, 2> BothDirections(const std::string& text) {
  const std::size_t comma = text.find(',');
  if (comma == std::string::npos) return {text, text};
  return {text.substr(0, comma), text.substr(comma + 1)};
}

absl::StatusOr<std::array<double, 2>> ParsePair(const char* option, const std::string& text,
                                                double min, double max) {
  std::array<double, 2> values{};
  const auto texts = BothDirections(text);
  for (std::size_t i = 0; i < 2; ++i) {
    const auto value = ParseNumber(texts[i], min, max);
    if (!value) {
      return InvalidArgument(
          fmt::format("parse {} \"{}\": not a number from {} to {}, nor two with a comma between",
                      option, EscapeBytes(text), min, max));
    }
    values[i] = *value;
  }
  return values;
}

Duration FromMilliseconds(double ms) { return FromSeconds(ms / 1000); }

}  // namespace

absl::Status ParseQueue(const std::string& text, Duration round_trip, std::size_t mtu,
                        LinkOptions* link) {
  link->queue_bytes = link->queue_packets = 0;
  const double bytes_per_s = link->rate_bits_per_s / 8;
  if (text.empty()) {
    const double product = bytes_per_s * ToSeconds(round_trip);
    link->queue_bytes =
        std::max<std::uint64_t>(static_cast<std::uint64_t>(product), kQueuePacketsMin * mtu);
    return absl::OkStatus();
  }
  std::string_view number = text;
  const auto strip = [&number](std::string_view suffix) {
    if (!number.ends_with(suffix)) return false;
    number.remove_suffix(suffix.size());
    return true;
  };
  if (strip("ms")) {
    const auto ms = ParseNumber(number, 0, kMillisecondsMax);
    if (ms && *ms > 0) {
      link->queue_bytes = std::max<std::uint64_t>(
          1, static_cast<std::uint64_t>(bytes_per_s * ToSeconds(FromMilliseconds(*ms))));
      return absl::OkStatus();
    }
  } else {
    std::uint64_t* const limit = strip("p") ? &link->queue_packets : &link->queue_bytes;
    const auto count = ParseDecimal(number);
    if (count && *count > 0 && *count <= kQueueBytesMax) {
      *limit = *count;
      return absl::OkStatus();
    }
  }
  return InvalidArgument(
      fmt::format("parse --queue \"{}\": neither bytes (96000), packets (64p) nor a time at the "
                  "link's rate (20ms)",
                  EscapeBytes(text)));
}

absl::StatusOr<std::array<LinkOptions, 2>> EmulatorOptions::Links() const {
  std::array<LinkOptions, 2> links;
  const auto each = [&links](const char* option, const std::string& text, double max,
                             auto&& set) -> absl::Status {
    ASSIGN_OR_RETURN(const auto values, ParsePair(option, text, 0, max));
    for (std::size_t i = 0; i < 2; ++i) set(&links[i], values[i]);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(each("--delay", delay_ms, kMillisecondsMax,
                       [](LinkOptions* link, double ms) { link->delay = FromMilliseconds(ms); }));
  RETURN_IF_ERROR(each("--jitter", jitter_ms, kMillisecondsMax,
                       [](LinkOptions* link, double ms) { link->jitter = FromMilliseconds(ms); }));
  RETURN_IF_ERROR(each("--loss", loss_percent, 100,
                       [](LinkOptions* link, double percent) { link->loss = percent / 100; }));
  RETURN_IF_ERROR(each("--corrupt", corrupt_percent, 100,
                       [](LinkOptions* link, double percent) { link->corrupt = percent / 100; }));
  RETURN_IF_ERROR(each("--duplicate", duplicate_percent, 100,
                       [](LinkOptions* link, double percent) { link->duplicate = percent / 100; }));
  RETURN_IF_ERROR(each("--reorder", reorder_percent, 100,
                       [](LinkOptions* link, double percent) { link->reorder = percent / 100; }));
  RETURN_IF_ERROR(
      each("--reorder-by", reorder_by_ms, kMillisecondsMax,
           [](LinkOptions* link, double ms) { link->reorder_by = FromMilliseconds(ms); }));
  if (rate_mbit.empty()) {
    if (!queue.empty()) return InvalidArgument("parse --queue: without --rate nothing waits");
  } else {
    ASSIGN_OR_RETURN(const auto rates, ParsePair("--rate", rate_mbit, kMbitMin, kMbitMax));
    const auto queues = BothDirections(queue);
    const Duration round_trip = links[0].delay + links[1].delay;
    for (std::size_t i = 0; i < 2; ++i) {
      links[i].rate_bits_per_s = rates[i] * 1e6;
      RETURN_IF_ERROR(ParseQueue(queues[i], round_trip, mtu, &links[i]));
    }
  }
  for (const LinkOptions& link : links) RETURN_IF_ERROR(link.Validate());
  return links;
}

}  // namespace ds::udp_transfer
