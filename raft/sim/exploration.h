#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "raft/sim/simulation.h"

namespace ds::raft {

struct ExplorationOptions {
  SimulationOptions simulation;
  std::uint64_t first_seed = 1;
  std::uint64_t seeds = 1;
  std::uint64_t jobs = 1;  ///< threads
  // To find the fewest faults that still fail; steps of all those runs.
  std::uint64_t reduction_runs = 1000;
  std::uint64_t reduction_steps = 40'000'000;  ///< and one run more; about a minute
};

/// A seed whose run went wrong.
struct Finding {
  std::uint64_t seed = 0;
  std::string violation;
  std::vector<Fault> faults;               ///< the fewest found that still give it
  std::vector<std::size_t> fault_numbers;  ///< their places in FaultsOf(seed)
  std::size_t faults_before = 0;
  std::uint64_t reduction_runs = 0;
  std::uint64_t reduction_steps = 0;
  bool reduction_broken_off = false;  ///< maybe fewer would do
  /// A run with those that is to end with this violation, and no other, ends here.
  std::optional<Duration> until;
  std::vector<std::string> trace_tail;  ///< of the run with those
};

struct ExplorationResult {
  std::uint64_t runs = 0;
  std::uint64_t steps = 0;
  std::uint64_t digest = 0;  ///< of the digests of all runs: equal for equal seeds, whatever `jobs`
  Totals totals;
  std::optional<Finding> finding;  ///< of the lowest seed that failed
};

/// Runs the seeds, and ends with the first that fails; which one that is does not depend on `jobs`.
/// Every 32nd seed is run twice and must give equal results. `progress` is called now and then with
/// the number of runs that are done, from any thread, one at a time. An abort within a run names
/// the seed on stderr.
ExplorationResult ExploreSeeds(const ExplorationOptions& options,
                               const std::function<void(std::uint64_t)>& progress = nullptr);

/// What is wrong with the totals of a whole exploration, one line each: what never happened though
/// its fault was on, histories that were not judged, and too few operations that succeeded.
std::vector<std::string> Shortcomings(const ExplorationResult& result,
                                      const ExplorationOptions& options);

}  // namespace ds::raft
