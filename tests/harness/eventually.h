#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "common/base/time.h"
#include "tests/harness/deadline.h"

namespace ds::testing {

/// Asks `predicate` until it says yes, with pauses that grow from 1 ms to 20 ms, for `deadline` at
/// most. The failure names `what` did not come true:
///
///   ASSERT_TRUE(Eventually(kDeadline, "the peer is counted", [&] { return Count() == 1; }));
::testing::AssertionResult Eventually(Duration deadline, const std::string& what,
                                      const std::function<bool()>& predicate);

/// The pace of a load: between two pieces that a slow client reads, or two blows of a torture.
/// Never a way to wait for something, which is Eventually()'s. Not stretched under sanitizers.
void LetTimePass(Duration time);

}  // namespace ds::testing
