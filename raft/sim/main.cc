#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/parse.h"
#include "common/daemon/program.h"
#include "common/daemon/tool.h"
#include "raft/sim/exploration.h"
#include "raft/sim/figure16.h"

namespace {

using namespace ds;        // NOLINT(google-build-using-namespace)
using namespace ds::raft;  // NOLINT(google-build-using-namespace)
using nlohmann::json;

/// To stdout; whether all of it could be written is asked at the end, once.
template <typename... Args>
void Print(fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = fmt::format(format, std::forward<Args>(args)...);
  [[maybe_unused]] const std::size_t written = std::fwrite(text.data(), 1, text.size(), stdout);
}

constexpr std::uint64_t kSeedMax = UINT64_MAX / 4;

struct Options {
  ExplorationOptions exploration;
  std::string faults = "all";
  std::string planted = "none";
  double seconds = 30;
  bool json = false;
  bool trace = false;
  std::string fault_numbers;  ///< of the traced seed; empty: all
  double until = 0;           ///< of the traced run; 0: its end
  bool figure16 = false;
  Figure16Options figure;
  std::string svg;
};

std::string PlantedNames() {
  std::string names = "none";
  for (const PlantedBug bug : kPlantedBugs) names += ", " + std::string(Name(bug));
  return names;
}

std::string FaultNames() {
  std::string names = "all, none, or with commas:";
  for (const FaultKind kind : kFaultKinds) names += " " + std::string(Name(kind));
  return names;
}

void AddFlags(CLI::App* flags, Options* options) {
  ExplorationOptions& exploration = options->exploration;
  SimulationOptions& simulation = exploration.simulation;
  exploration.seeds = 100;
  exploration.jobs = std::max(1U, std::thread::hardware_concurrency());
  flags->add_option("--seeds", exploration.seeds, "Runs, one for each seed")
      ->check(daemon::Count(1, 100'000'000))
      ->capture_default_str();
  flags->add_option("--first-seed", exploration.first_seed, "The first of them")
      ->check(daemon::Count(0, kSeedMax))
      ->capture_default_str();
  flags->add_option("--nodes", simulation.nodes, "Members at the begin of a run")
      ->check(daemon::Count(1, 9))
      ->capture_default_str();
  flags->add_option("--faults", options->faults, "What befalls them: " + FaultNames())
      ->capture_default_str();
  flags->add_option("--seconds", options->seconds, "Virtual seconds of a run, at least")
      ->check(daemon::Seconds(1, 3600))
      ->capture_default_str();
  flags
      ->add_option("--operations", simulation.operations,
                   "That the clients of a run begin, at least")
      ->check(daemon::Count(1, 100'000))
      ->capture_default_str();
  flags->add_option("--jobs", exploration.jobs, "Threads (default: one for each core)")
      ->check(daemon::Count(1, 1024));
  flags
      ->add_option("--planted", options->planted,
                   "Break one rule of the algorithm, to see that it is found: " + PlantedNames())
      ->capture_default_str();
  flags->add_flag(
      "--trace", options->trace,
      "Print all that happens in the run of --first-seed, and run no other. Totals that "
      "are zero are no failure then");
  flags
      ->add_option(
          "--fault-numbers", options->fault_numbers,
          "Of --trace: leave all faults of the seed out but these, by their numbers from 0 "
          "on, with commas; none leaves out all")
      ->check(daemon::NotEmpty())
      ->needs("--trace");
  flags
      ->add_option("--until", options->until,
                   "Of --trace: end the run at this virtual second, and judge by what there is")
      ->check(daemon::Seconds(1, 3600))
      ->needs("--trace");
  const std::vector<CLI::Option*> of_runs = flags->get_options(
      [](const CLI::Option* option) { return option->get_lnames().front() != "help"; });
  flags->add_flag("--json", options->json, "Print one JSON object");
  CLI::Option* figure16 = flags->add_flag(
      "--figure16", options->figure16,
      "Instead: time without a leader by timer range, as in Figure 16 of the paper");
  for (CLI::Option* option : of_runs) figure16->excludes(option);
  flags->add_option("--trials", options->figure.trials, "Of --figure16, for each timer range")
      ->check(daemon::Count(1, 1'000'000))
      ->capture_default_str()
      ->needs(figure16);
  flags->add_option("--svg", options->svg, "Of --figure16: also write the graphs to this file")
      ->check(daemon::NotEmpty())
      ->needs(figure16);
}

/// The command that runs the finding's seed with its faults alone, and prints the trace.
std::string ReplayCommand(const Options& options, const Finding& finding) {
  const SimulationOptions& simulation = options.exploration.simulation;
  std::string command = fmt::format(
      "raft-sim --first-seed {} --nodes {} --faults {} --seconds {} --operations {}", finding.seed,
      simulation.nodes, options.faults, options.seconds, simulation.operations);
  if (options.planted != "none") command += " --planted " + options.planted;
  if (finding.faults.size() < finding.faults_before) {
    command += fmt::format(" --fault-numbers {}",
                           finding.fault_numbers.empty()
                               ? "none"
                               : fmt::format("{}", fmt::join(finding.fault_numbers, ",")));
  }
  if (finding.until) command += fmt::format(" --until {}", ToSeconds(*finding.until));
  return command + " --trace";
}

/// Those of `faults` that --fault-numbers names.
absl::StatusOr<std::vector<Fault>> Chosen(const std::vector<Fault>& faults,
                                          const std::string& numbers) {
  if (numbers.empty()) return faults;
  std::vector<Fault> chosen;
  if (numbers == "none") return chosen;
  for (std::size_t begin = 0; begin <= numbers.size();) {
    const std::size_t end = std::min(numbers.find(',', begin), numbers.size());
    const auto number = ParseDecimal(numbers.substr(begin, end - begin));
    if (!number || *number >= faults.size()) {
      return InvalidArgument(fmt::format(
          "read --fault-numbers: \"{}\" is no number of a fault; the seed has {} of them",
          numbers.substr(begin, end - begin), faults.size()));
    }
    chosen.push_back(faults[*number]);
    begin = end + 1;
  }
  return chosen;
}

json TotalsJson(const Totals& totals) {
  json object;
  for (std::size_t i = 0; i < kTotals; ++i) {
    const auto total = static_cast<Total>(i);
    object[std::string(Name(total))] = totals[total];
  }
  return object;
}

void PrintTotals(const Totals& totals) {
  for (std::size_t i = 0; i < kTotals; ++i) {
    const auto total = static_cast<Total>(i);
    Print("{:<22}{:>14}\n", Name(total), totals[total]);
  }
}

int RunTrace(const Options& options, daemon::Tool* tool) {
  const SimulationOptions& simulation = options.exploration.simulation;
  const std::uint64_t seed = options.exploration.first_seed;
  const auto faults = Chosen(FaultsOf(simulation, seed), options.fault_numbers);
  if (!faults.ok()) return tool->Fail(faults.status());
  json object = {{"seed", seed}, {"faults", json::array()}, {"trace", json::array()}};
  for (const Fault& fault : *faults) {
    if (options.json) {
      object["faults"].push_back(ToString(fault));
    } else {
      Print("fault at {}\n", ToString(fault));
    }
  }
  const SimulationResult result = Simulate(simulation, seed, *faults, [&](const std::string& line) {
    if (options.json) {
      object["trace"].push_back(line);
    } else {
      Print("{}\n", line);
    }
  });
  if (options.json) {
    object["steps"] = result.steps;
    object["digest"] = fmt::format("{:016x}", result.digest);
    object["clean"] = !result.violation;
    object["totals"] = TotalsJson(result.totals);
    if (result.violation) object["violation"] = *result.violation;
    Print("{}\n", object.dump());
  } else {
    PrintTotals(result.totals);
    Print("seed {}: {}; {} steps, digest {:016x}\n", seed, result.violation.value_or("clean"),
          result.steps, result.digest);
  }
  return result.violation ? daemon::kExitFailure : daemon::kExitSuccess;
}

int RunFigure16(const Options& options, daemon::Tool* tool) {
  std::ofstream svg;
  if (!options.svg.empty()) {
    svg.open(options.svg);  // before the trials, which may last
    if (!svg) return tool->Fail(Unavailable(fmt::format("open \"{}\": failed", options.svg)));
  }
  const std::vector<Figure16Row> rows = Figure16(options.figure);
  if (options.json) {
    json ranges = json::array();
    for (const Figure16Row& row : rows) {
      json times = json::array();
      for (const Duration time : row.times) times.push_back(ToSeconds(time) * 1000);
      ranges.push_back({{"min_ms", row.range.min_ms},
                        {"max_ms", row.range.max_ms},
                        {"times_ms", std::move(times)}});
    }
    Print("{}\n", json{{"trials", options.figure.trials}, {"ranges", ranges}}.dump());
  } else {
    Print("{}\n{}", Figure16Table(rows), Figure16Text(rows));
  }
  if (!options.svg.empty()) {
    svg << Figure16Svg(rows);
    svg.close();
    if (!svg) return tool->Fail(Unavailable(fmt::format("write \"{}\": failed", options.svg)));
  }
  return daemon::kExitSuccess;
}

void PrintFinding(const Options& options, const Finding& finding) {
  Print("seed {} fails: {}\n", finding.seed, finding.violation);
  Print("faults, {} left of {} after {} runs{}:\n", finding.faults.size(), finding.faults_before,
        finding.reduction_runs,
        finding.reduction_broken_off ? ", as many as are tried; maybe fewer would do" : "");
  for (const Fault& fault : finding.faults) Print("  {}\n", ToString(fault));
  Print("the end of the trace with those:\n");
  for (const std::string& line : finding.trace_tail) Print("  {}\n", line);
  Print("again: {}\n", ReplayCommand(options, finding));
}

int RunExploration(const Options& options) {
  const ExplorationOptions& exploration = options.exploration;
  const bool terminal = isatty(STDERR_FILENO) == 1;
  const auto begin = std::chrono::steady_clock::now();
  const ExplorationResult result = ExploreSeeds(exploration, [&](std::uint64_t done) {
    if (terminal && done % 16 == 0) fmt::print(stderr, "\r{} of {} seeds", done, exploration.seeds);
  });
  if (terminal) fmt::print(stderr, "\r\x1b[K");
  const double seconds = ToSeconds(std::chrono::steady_clock::now() - begin);
  // What a run that broke off did not come to is no shortcoming.
  const std::vector<std::string> shortcomings =
      result.finding ? std::vector<std::string>() : Shortcomings(result, exploration);
  const bool clean = !result.finding && shortcomings.empty();
  if (options.json) {
    json object = {{"runs", result.runs},
                   {"first_seed", exploration.first_seed},
                   {"steps", result.steps},
                   {"digest", fmt::format("{:016x}", result.digest)},
                   {"clean", clean},
                   {"totals", TotalsJson(result.totals)},
                   {"shortcomings", shortcomings}};
    if (exploration.simulation.planted_bug != PlantedBug::kNone) {
      object["planted"] = options.planted;
      object["found"] = result.finding.has_value();
    }
    if (result.finding) {
      json faults = json::array();
      for (const Fault& fault : result.finding->faults) faults.push_back(ToString(fault));
      object["finding"] = {{"seed", result.finding->seed},
                           {"violation", result.finding->violation},
                           {"faults", std::move(faults)},
                           {"faults_before", result.finding->faults_before},
                           {"reduction_runs", result.finding->reduction_runs},
                           {"reduction_broken_off", result.finding->reduction_broken_off},
                           {"trace", result.finding->trace_tail},
                           {"again", ReplayCommand(options, *result.finding)}};
    }
    Print("{}\n", object.dump());
  } else {
    PrintTotals(result.totals);
    if (result.finding) PrintFinding(options, *result.finding);
    for (const std::string& line : shortcomings) Print("{}\n", line);
    Print("{} seeds from {} on, {} steps, digest {:016x}: {}\n", result.runs,
          exploration.first_seed, result.steps, result.digest, clean ? "clean" : "not clean");
    if (exploration.simulation.planted_bug != PlantedBug::kNone) {
      Print("the planted bug {} was {}\n", options.planted, result.finding ? "found" : "not found");
    }
    fmt::print(stderr, "{:.1f} s\n", seconds);
  }
  return clean ? daemon::kExitSuccess : daemon::kExitFailure;
}

}  // namespace

int main(int argc, char** argv) {
  daemon::Tool tool(
      {.name = "raft-sim",
       .summary =
           "Runs Raft clusters in virtual time, each with the faults that its seed draws, and "
           "checks the invariants of the algorithm after every step and the clients' "
           "histories at the end. Exits with 0 when all is well; 1 when an invariant was "
           "violated (also by a planted bug), a total is zero though its fault is on, a "
           "history was too long to be judged, or fewer than half of the operations "
           "succeeded; 2 for a wrong command line."});
  Options options;
  AddFlags(&tool.flags(), &options);
  if (const auto code = tool.Parse(argc, argv)) return *code;

  SimulationOptions& simulation = options.exploration.simulation;
  const absl::StatusOr<FaultKinds> faults = ParseFaultKinds(options.faults);
  if (!faults.ok()) return tool.Fail(faults.status());
  simulation.faults = *faults;
  const std::optional<PlantedBug> planted = ParsePlantedBug(options.planted);
  if (!planted) {
    return tool.Fail(InvalidArgument(fmt::format("read --planted: \"{}\" is no bug; there are {}",
                                                 options.planted, PlantedNames())));
  }
  simulation.planted_bug = *planted;
  simulation.length = FromSeconds(options.seconds);
  if (options.until != 0) simulation.until = FromSeconds(options.until);
  if (const absl::Status status = simulation.Validate(); !status.ok()) return tool.Fail(status);
  const std::uint64_t first_seed = options.exploration.first_seed;
  if (!options.trace && options.exploration.seeds - 1 > kSeedMax - first_seed) {
    return tool.Fail(InvalidArgument(fmt::format("read --seeds: {} seeds from {} on go beyond {}",
                                                 options.exploration.seeds, first_seed, kSeedMax)));
  }

  const int code = options.figure16 ? RunFigure16(options, &tool)
                   : options.trace  ? RunTrace(options, &tool)
                                    : RunExploration(options);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return tool.Fail(Unavailable("write the results to stdout: not all of it was taken"));
  }
  return code;
}
