#pragma once

#include <cstddef>
#include <memory>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/daemon/metrics.h"

namespace grpc {
class Service;
}

namespace ds::compute {

struct TextServiceOptions {
  std::size_t streams_max = 10'000;          ///< IsPrime streams at a time
  double stream_idle_s = 300;                ///< without a number, or a taken answer: the end
  std::size_t answer_bytes_max = 4U << 20U;  ///< of one answer to Split
  std::size_t answers_bytes_max = 256U
                                  << 20U;  ///< of all answers that are not sent yet, no streams

  absl::Status Validate() const;
};

/// ds.compute.v1.Text on the callback API: no call holds a thread while it waits. Registers
/// `compute_text_streams`, `compute_text_streams_refused_total`,
/// `compute_text_streams_idle_total`, `compute_text_numbers_total`,
/// `compute_text_number_errors_total`, `compute_text_calls_idle_total`,
/// `compute_text_answers_refused_total`, `compute_text_answer_bytes`. Outlives the server.
class TextService {
 public:
  TextService(const TextServiceOptions& options, daemon::Metrics* metrics);
  /// REQUIRES: no call is under way.
  ~TextService();

  grpc::Service* service();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ds::compute
