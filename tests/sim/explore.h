#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "tests/sim/scheduler.h"

namespace ds::sim {

/// Which seeds a simulation runs: first, first + 1, …
struct Seeds {
  std::uint64_t first = 1;
  std::uint64_t runs = 1;
};

/// `runs` seeds from 1 on: the same in each build, so that a failure is somebody's change and no
/// weather. The only reader of the environment among the simulations:
/// DS_SIM_SEED=n replays seed n alone, DS_SIM_RUNS=m makes it m runs.
Seeds SeedsFromEnvironment(std::uint64_t runs);

/// The shortest list that can be found by leaving items out of `items` such that `fails` still
/// holds (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002, ddmin):
/// with any one of the rest left out it holds no more, unless `attempts` calls of `fails` were too
/// few. REQUIRES: fails(items).
template <typename T>
std::vector<T> Minimize(std::vector<T> items, std::size_t attempts,
                        const std::function<bool(const std::vector<T>&)>& fails) {
  std::size_t parts = std::min<std::size_t>(2, items.size());
  while (parts > 0) {
    bool reduced = false;
    for (std::size_t part = 0; part < parts && !reduced; ++part) {
      if (attempts-- == 0) return items;
      const auto begin = static_cast<std::ptrdiff_t>(items.size() * part / parts);
      const auto end = static_cast<std::ptrdiff_t>(items.size() * (part + 1) / parts);
      std::vector<T> rest = items;
      rest.erase(rest.begin() + begin, rest.begin() + end);
      if (fails(rest)) {
        items = std::move(rest);
        reduced = true;
      }
    }
    if (reduced) {
      parts = std::min(std::max<std::size_t>(parts - 1, 2), items.size());
    } else if (parts == items.size()) {
      break;
    } else {
      parts = std::min(parts * 2, items.size());
    }
  }
  return items;
}

/// A simulation that takes a seed and a list of faults. A fault is a value (a time, a kind, a
/// target), so that a run can be repeated with fewer of them.
template <typename Fault>
struct Experiment {
  /// The faults of a run; drawn from a stream of their own, so that leaving one out of the run
  /// leaves the rest of it as it was as far as possible.
  std::function<std::vector<Fault>(Rng&)> draw_faults;
  /// A whole run: builds the world on a Scheduler of this seed, and gives back its Result().
  std::function<RunResult(std::uint64_t seed, const std::vector<Fault>& faults)> run;
  std::function<std::string(const Fault&)> describe;
};

/// What Explore() found. EXPECT_TRUE(found.ok) << found.report;
template <typename Fault>
struct Exploration {
  bool ok = true;
  std::uint64_t runs = 0;
  std::uint64_t steps = 0;
  std::uint64_t seed = 0;     ///< that failed
  std::vector<Fault> faults;  ///< the fewest that still fail with this seed
  std::string report;         ///< seed, failure, those faults, the end of the trace, how to replay
};

/// While one of these lives, an abort (a CHECK in the code under test) or a sanitizer's death names
/// the seed that its thread runs, on stderr behind `prefix` (a literal). One at a time.
class SeedOnAbort {
 public:
  explicit SeedOnAbort(const char* prefix);
  ~SeedOnAbort();
  SeedOnAbort(const SeedOnAbort&) = delete;
  SeedOnAbort& operator=(const SeedOnAbort&) = delete;
  /// This thread runs `seed` now; none: none.
  static void Set(std::optional<std::uint64_t> seed);
};

namespace internal {
/// The text of a failure, with the command that replays it.
std::string Report(std::uint64_t seed, const RunResult& result,
                   const std::vector<std::string>& faults, std::size_t faults_before);
}  // namespace internal

/// Runs the experiment with each seed until one fails, and then with ever fewer faults, at most
/// 2000 times, to find the fewest that still fail. Every 32nd seed is run twice and must give equal
/// results.
template <typename Fault>
Exploration<Fault> Explore(const Experiment<Fault>& experiment, Seeds seeds) {
  constexpr std::uint64_t kRepeatedSeeds = 32;
  constexpr std::size_t kReductionRuns = 2000;
  Exploration<Fault> found;
  const SeedOnAbort seed_on_abort("while simulating DS_SIM_SEED=");
  for (std::uint64_t seed = seeds.first; seed - seeds.first < seeds.runs; ++seed) {
    SeedOnAbort::Set(seed);
    Rng fault_rng(~seed);
    std::vector<Fault> faults = experiment.draw_faults(fault_rng);
    const auto run = [&](const std::vector<Fault>& some) {
      RunResult result = experiment.run(seed, some);
      const bool repeat = (seed - seeds.first) % kRepeatedSeeds == 0 && !result.failure;
      if (repeat && experiment.run(seed, some) != result) {
        result.failure = "a second run of this seed went another way";
      }
      return result;
    };
    RunResult result = run(faults);
    ++found.runs;
    found.steps += result.steps;
    if (!result.failure) continue;

    const std::size_t faults_before = faults.size();
    found.ok = false;
    found.seed = seed;
    found.faults = Minimize<Fault>(
        std::move(faults), kReductionRuns,
        [&](const std::vector<Fault>& fewer) { return run(fewer).failure.has_value(); });
    std::vector<std::string> lines;
    for (const Fault& fault : found.faults) lines.push_back(experiment.describe(fault));
    found.report = internal::Report(seed, run(found.faults), lines, faults_before);
    return found;
  }
  return found;
}

}  // namespace ds::sim
