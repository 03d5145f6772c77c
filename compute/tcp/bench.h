#pragma once

#include "common/base/status.h"
#include "common/load/report.h"
#include "compute/tcp/bench_options.h"

namespace ds::compute::tcp {

/// Loads a prime server, or a bare echo, in a closed loop: each connection keeps `depth` numbers
/// under way, and sends as many as were answered. Every byte that comes is checked. A connection
/// that fails is counted and not made again; the run ends early when there is none left.
///
/// Latency is counted from the send of a number to the read that has the end of its answer.
/// Numbers that were sent are waited for and counted, and the time lasts until the last of them.
/// Once `cancel_fd` is readable, ends with what there is so far.
absl::StatusOr<load::LoadReport> RunBench(const BenchOptions& options, int cancel_fd);

}  // namespace ds::compute::tcp
