#include "tests/harness/eventually.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace ds::testing {

::testing::AssertionResult Eventually(Duration deadline, const std::string& what,
                                      const std::function<bool()>& predicate) {
  using std::chrono::milliseconds;
  const TimePoint end = std::chrono::steady_clock::now() + deadline * kSlowdown;
  milliseconds pause(1);
  for (;;) {
    // Whether time is up is decided before the question: the last answer is never an old one.
    const bool last = std::chrono::steady_clock::now() >= end;
    if (predicate()) return ::testing::AssertionSuccess();
    if (last) {
      return ::testing::AssertionFailure()
             << "not within " << std::chrono::duration<double>(deadline * kSlowdown).count()
             << " s: " << what;
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, milliseconds(20));
  }
}

void LetTimePass(Duration time) { std::this_thread::sleep_for(time); }

}  // namespace ds::testing
