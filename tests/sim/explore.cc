#include "tests/sim/explore.h"

#include <errno.h>  // program_invocation_name
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "common/base/check.h"
#include "common/base/parse.h"

// Of the sanitizers' runtime, where there is one. NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" [[gnu::weak]] void __sanitizer_set_death_callback(void (*callback)());

namespace ds::sim {
namespace {

std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it
  if (text == nullptr) return otherwise;
  const std::optional<std::uint64_t> value = ParseDecimal(text);
  CHECK(value.has_value(), "DS_SIM_SEED and DS_SIM_RUNS are decimal numbers");
  return *value;
}

std::atomic<const char*> seed_prefix{nullptr};
/// Deaths happen in the thread that they concern.
thread_local std::uint64_t running_seed = 0;
thread_local bool running = false;

/// Async-signal-safe.
void WriteSeed() {
  const char* const before = seed_prefix;
  if (!running || before == nullptr) return;
  running = false;
  const std::string_view prefix(before);
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, prefix.data(), prefix.size());
  std::array<char, 32> text{};
  auto begin = text.end();
  *--begin = '\n';
  std::uint64_t rest = running_seed;
  do {
    *--begin = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  written = ::write(STDERR_FILENO, begin, static_cast<std::size_t>(text.end() - begin));
}

void OnAbort(int number) {
  WriteSeed();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

}  // namespace

Seeds SeedsFromEnvironment(std::uint64_t runs) {
  constexpr std::uint64_t kNone = ~std::uint64_t{0};
  const std::uint64_t seed = FromEnvironment("DS_SIM_SEED", kNone);
  return seed == kNone ? Seeds{1, FromEnvironment("DS_SIM_RUNS", runs)}
                       : Seeds{seed, FromEnvironment("DS_SIM_RUNS", 1)};
}

SeedOnAbort::SeedOnAbort(const char* prefix) {
  seed_prefix = prefix;
  std::signal(SIGABRT, OnAbort);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(WriteSeed);
}

SeedOnAbort::~SeedOnAbort() {
  Set(std::nullopt);
  seed_prefix = nullptr;
  std::signal(SIGABRT, SIG_DFL);
}

void SeedOnAbort::Set(std::optional<std::uint64_t> seed) {
  running_seed = seed.value_or(0);
  running = seed.has_value();
}

namespace internal {

std::string Report(std::uint64_t seed, const RunResult& result,
                   const std::vector<std::string>& faults, std::size_t faults_before) {
  std::string report = fmt::format("seed {} fails: {}\n", seed,
                                   result.failure.value_or("(but not when it was run again)"));
  report += fmt::format("faults, {} left of {}:\n", faults.size(), faults_before);
  for (const std::string& fault : faults) report += "  " + fault + "\n";
  report += "the end of the trace:\n";
  for (const std::string& line : result.trace_tail) report += "  " + line + "\n";
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  report += fmt::format(
      "again: DS_SIM_SEED={} {} --gtest_filter={}\n", seed, program_invocation_name,
      test == nullptr ? "*" : std::string(test->test_suite_name()) + "." + test->name());
  return report;
}

}  // namespace internal
}  // namespace ds::sim
