#pragma once

#include "common/base/status.h"
#include "common/load/report.h"
#include "getfile/client/bench_connection.h"
#include "getfile/client/bench_options.h"

namespace ds::getfile {

/// Reads the files that the options name, resolves the server and writes out every request.
absl::StatusOr<BenchPlan> MakeBenchPlan(const BenchOptions& options);

/// Runs the load: threads, each with an event loop and its part of the connections. Thread k of T
/// makes the requests k, k + T, k + 2T, …, so that nothing is shared between threads; request i
/// takes path i mod n, and in open loop is due at start + i / rate.
///
/// Requests that were begun are waited for and counted, and the time lasts until the last of them;
/// a slow answer is so never missing from the percentiles. In open loop, requests that are due and
/// not begun when the time is over are not made; the report says how many.
///
/// With a terminal on stderr prints a line a second. Once `cancel_fd` is readable, ends with what
/// there is so far.
absl::StatusOr<load::LoadReport> GenerateLoad(const BenchOptions& options, const BenchPlan& plan,
                                              int cancel_fd);

}  // namespace ds::getfile
