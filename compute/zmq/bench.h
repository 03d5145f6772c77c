#pragma once

#include <cstddef>
#include <string>

#include "common/base/status.h"
#include "common/load/report.h"

namespace ds::compute::zmq {

/// zmq-bench. Filled by the flag parser.
struct BenchOptions {
  std::string client_in, client_out;  ///< classic
  std::string reliable;
  unsigned clients = 64;           ///< REQ sockets of the classic load
  std::size_t window = 256;        ///< open requests of the reliable load
  std::size_t message_bytes = 16;  ///< of the throughput pattern
  double seconds = 5;
};

// One result each; one thread, closed loop. `interrupt_fd` readable: kCancelled.

/// Clients that each send a line, and the next once they have its confirmation and its answer; all
/// in one process, with one SUB socket.
absl::StatusOr<load::LoadReport> RunClassicLoad(const BenchOptions& options, int interrupt_fd);

/// One client with so many open requests.
absl::StatusOr<load::LoadReport> RunReliableLoad(const BenchOptions& options, int interrupt_fd);

/// libzmq's local_thr and remote_thr: PUSH to PULL over TCP as fast as it goes, on two threads with
/// a context each, on sockets with the options of all the others here. Requests are messages;
/// latencies are not measured.
absl::StatusOr<load::LoadReport> RunThroughput(const BenchOptions& options, int interrupt_fd);

}  // namespace ds::compute::zmq
