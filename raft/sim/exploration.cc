#include "raft/sim/exploration.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "tests/sim/explore.h"

namespace ds::raft {
namespace {

constexpr std::uint64_t kRepeatedSeeds = 32;
/// So much later than with all faults a violation may come with fewer of them.
constexpr std::chrono::seconds kPatience(5);

SimulationResult RunSeed(const ExplorationOptions& options, std::uint64_t seed,
                         const std::vector<Fault>& faults) {
  sim::SeedOnAbort::Set(seed);
  SimulationResult result = Simulate(options.simulation, seed, faults);
  if (seed % kRepeatedSeeds == 0 && !result.violation &&
      Simulate(options.simulation, seed, faults) != result) {
    result.violation = "determinism: a second run of this seed went another way";
  }
  sim::SeedOnAbort::Set(std::nullopt);
  return result;
}

/// Which invariant, without the particulars.
std::string KindOf(const std::string& violation) {
  // "<time> s, step <n>: FAILED: <invariant>: …"
  constexpr std::string_view kFailed = "FAILED: ";
  const std::size_t found = violation.find(kFailed);
  const std::size_t begin = found == std::string::npos ? 0 : found + kFailed.size();
  return violation.substr(begin, violation.find(':', begin) - begin);
}

Finding Reduce(const ExplorationOptions& options, std::uint64_t seed) {
  Finding finding;
  finding.seed = seed;
  const std::vector<Fault> all = FaultsOf(options.simulation, seed);
  finding.faults_before = all.size();
  ExplorationOptions shorter = options;
  const auto run = [&](const std::vector<std::size_t>& numbers) {
    std::vector<Fault> faults;
    faults.reserve(numbers.size());
    for (const std::size_t number : numbers) faults.push_back(all[number]);
    SimulationResult result = RunSeed(shorter, seed, faults);
    ++finding.reduction_runs;
    finding.reduction_steps += result.steps;
    return result;
  };
  // Where it does not come, the rest of the run, which may be an hour, would be in vain.
  const auto shorten = [&](Duration violated_at) {
    const Duration until = std::chrono::ceil<std::chrono::seconds>(violated_at) + kPatience;
    if (until < shorter.simulation.until.value_or(options.simulation.length)) {
      shorter.simulation.until = until;
    }
  };
  std::vector<std::size_t> numbers(all.size());
  std::iota(numbers.begin(), numbers.end(), std::size_t{0});
  const SimulationResult first = run(numbers);
  const std::string kind = KindOf(first.violation.value_or(""));
  if (first.violated_at) {
    shorten(*first.violated_at);
    std::erase_if(numbers, [&](std::size_t n) { return all[n].at > *first.violated_at; });
  }
  const auto fails = [&](const std::vector<std::size_t>& fewer) {
    if (finding.reduction_runs > options.reduction_runs ||
        finding.reduction_steps > options.reduction_steps) {
      finding.reduction_broken_off = true;
      return false;
    }
    const SimulationResult reduced = run(fewer);
    if (!reduced.violation || KindOf(*reduced.violation) != kind) return false;
    if (reduced.violated_at) shorten(*reduced.violated_at);
    return true;
  };
  finding.fault_numbers = sim::Minimize<std::size_t>(std::move(numbers), SIZE_MAX, fails);
  for (const std::size_t number : finding.fault_numbers) finding.faults.push_back(all[number]);
  SimulationResult result = run(finding.fault_numbers);
  finding.violation = result.violation.value_or("(but not when it was run again)");
  finding.trace_tail = std::move(result.trace_tail);
  // Other violations end a run by themselves.
  if (kind == "linearizability") finding.until = shorter.simulation.until;
  return finding;
}

}  // namespace

ExplorationResult ExploreSeeds(const ExplorationOptions& options,
                               const std::function<void(std::uint64_t)>& progress) {
  const sim::SeedOnAbort seed_on_abort("while simulating seed ");
  std::atomic<std::uint64_t> next{0};
  std::atomic<std::uint64_t> failed_at{options.seeds};
  struct Slot {
    bool failed = false;
    std::uint64_t steps = 0;
    std::uint64_t digest = 0;
    Totals totals;
  };
  std::mutex mutex;
  std::map<std::uint64_t, Slot> done;  // by seed, so that the sum does not depend on the threads

  const auto work = [&] {
    while (true) {
      const std::uint64_t n = next++;
      if (n >= options.seeds || n > failed_at) return;
      const std::uint64_t seed = options.first_seed + n;
      const SimulationResult result = RunSeed(options, seed, FaultsOf(options.simulation, seed));
      if (result.violation) {
        std::uint64_t lowest = failed_at;
        while (n < lowest && !failed_at.compare_exchange_weak(lowest, n)) {
        }
      }
      const std::lock_guard lock(mutex);
      done[n] = {result.violation.has_value(), result.steps, result.digest, result.totals};
      if (progress) progress(done.size());
    }
  };
  {
    std::vector<std::jthread> threads;
    const std::uint64_t jobs = std::clamp<std::uint64_t>(options.jobs, 1, options.seeds);
    for (std::uint64_t i = 1; i < jobs; ++i) threads.emplace_back(work);
    work();
  }

  ExplorationResult result;
  for (const auto& [n, slot] : done) {
    if (n > failed_at) break;
    ++result.runs;
    result.steps += slot.steps;
    result.digest = (result.digest ^ slot.digest) * 0x100000001b3;
    result.totals += slot.totals;
    if (slot.failed) {
      result.finding = Reduce(options, options.first_seed + n);
      break;
    }
  }
  return result;
}

std::vector<std::string> Shortcomings(const ExplorationResult& result,
                                      const ExplorationOptions& options) {
  std::vector<std::string> lines;
  bool leases = false;
  for (std::uint64_t n = 0; n < result.runs && !leases; ++n) {
    leases = LeasesOf(options.first_seed + n) == Leases::kAll;
  }
  for (const Total total :
       Missing(result.totals, options.simulation.faults, options.simulation.nodes, leases)) {
    lines.push_back(
        fmt::format("the total \"{}\" is zero: the simulation did not do what it was "
                    "to do",
                    Name(total)));
  }
  if (const std::uint64_t not_judged = result.totals[Total::kNotJudged]; not_judged > 0) {
    lines.push_back(fmt::format("histories that were too long to be judged: {} of {}", not_judged,
                                result.runs));
  }
  const std::uint64_t operations = result.totals[Total::kOperations];
  const std::uint64_t succeeded = result.totals[Total::kSucceeded];
  if (succeeded * 2 < operations) {
    lines.push_back(
        fmt::format("{} of {} operations succeeded: fewer than half", succeeded, operations));
  }
  return lines;
}

}  // namespace ds::raft
