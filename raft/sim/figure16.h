#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/time.h"

namespace ds::raft {

/// The experiment of the paper's Figure 16 (§9.3), with Nodes in virtual time: how long a cluster
/// of five has no leader after its leader crashed, by the range of the election timer.
///
/// The model:
///   - an RPC and its answer take the broadcast time of 15 ms. The paper does not say how it was
///     divided. §5.6 says that most of it is the recipient's disk, which delays the answer and not
///     the acting on the request; so the request takes 2 to 3 ms here and the answer 12 to 13. This
///     division is chosen so that the median of 150-155 ms comes near the paper's: with requests
///     of 7 ms nearly every election in such a range is split;
///   - the leader broadcasts a heartbeat, which sets all timers at about the same time, and crashes
///     uniformly within its heartbeat interval, which is half of the shortest timeout;
///   - logs differ in length, so that some cannot win: of the four that are left, two have the last
///     entry and two do not;
///   - timers are drawn anew for each election; no PreVote, no CheckQuorum; disks cost no other
///   time.
/// Deterministic: a function of ranges, trials and seed.
struct Figure16Options {
  std::uint64_t trials = 1000;
  std::uint64_t seed = 1;
};

struct Figure16Range {
  std::uint32_t min_ms = 0;
  std::uint32_t max_ms = 0;
};

/// What is known of the range from the paper's text and figure, for the reader to compare.
struct Figure16Paper {
  std::optional<double> mean_ms;
  std::optional<double> median_ms;
  std::optional<double> max_ms;
};

struct Figure16Row {
  Figure16Range range;
  Figure16Paper paper;
  /// Time without a leader of each trial, sorted; those of kFigure16GivenUp found none.
  std::vector<Duration> times;
};

/// A trial is given up after this time: with all timers alike votes may be split for ever.
inline constexpr Duration kFigure16GivenUp = std::chrono::seconds(100);

/// The ranges of Figure 16, upper and lower graph.
std::vector<Figure16Row> Figure16(const Figure16Options& options);

/// A table: quantiles beside the paper's figures.
std::string Figure16Table(const std::vector<Figure16Row>& rows);
/// The cumulative distributions, one line for each range and decile.
std::string Figure16Text(const std::vector<Figure16Row>& rows);
/// Both graphs as SVG, x logarithmic as in the paper.
std::string Figure16Svg(const std::vector<Figure16Row>& rows);

}  // namespace ds::raft
