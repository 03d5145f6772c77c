#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/time.h"

namespace ds::sim {

/// What became of an operation, as far as its client knows.
enum class OperationEnd : std::uint8_t {
  kReturned,
  kUnknown,  ///< it may have been executed at any time after its begin, may still be, or never
  kFailed,   ///< it was certainly not executed, and never will be
};
std::string_view Name(OperationEnd end);

/// One operation of a client. Model: see linearizability.h.
template <typename Model>
struct Operation {
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  std::uint64_t client = 0;
  typename Model::Op op;
  OperationEnd end = OperationEnd::kUnknown;
  std::optional<typename Model::Result> result;  ///< of one that returned
  TimePoint invoked;
  TimePoint ended;
  /// Places in the order of all begins and ends: what ended before another began precedes it.
  std::uint64_t invoked_place = 0;
  std::uint64_t returned_place = kNever;  ///< kNever unless kReturned
};

/// Begins and ends of operations in the order in which they were recorded, which is taken for the
/// order in which they happened: record a begin before it is sent and an end after the answer is
/// here. Times are for readers. What has not ended counts as unknown. Single threaded.
template <typename Model>
class History {
 public:
  using Op = typename Model::Op;
  using Result = typename Model::Result;
  using Id = std::size_t;

  struct Counters {
    std::uint64_t invoked = 0;
    std::uint64_t returned = 0;
    std::uint64_t unknown = 0;  ///< Unknown() was called
    std::uint64_t failed = 0;
    friend bool operator==(const Counters&, const Counters&) = default;
  };

  Id Invoke(std::uint64_t client, Op op, TimePoint now) {
    ++counters_.invoked;
    Operation<Model> operation;
    operation.client = client;
    operation.op = std::move(op);
    operation.invoked = operation.ended = now;
    operation.invoked_place = places_++;
    operations_.push_back(std::move(operation));
    ended_.push_back(false);
    return operations_.size() - 1;
  }
  // Each operation ends at most once. REQUIRES: it has not.
  void Return(Id id, Result result, TimePoint now) {
    ++counters_.returned;
    Operation<Model>& operation = End(id, OperationEnd::kReturned, now);
    operation.result = std::move(result);
    operation.returned_place = places_++;
  }
  void Unknown(Id id, TimePoint now) {
    ++counters_.unknown;
    End(id, OperationEnd::kUnknown, now);
  }
  void Fail(Id id, TimePoint now) {
    ++counters_.failed;
    End(id, OperationEnd::kFailed, now);
  }

  /// In the order of their begins.
  const std::vector<Operation<Model>>& operations() const { return operations_; }
  const Counters& counters() const { return counters_; }

 private:
  Operation<Model>& End(Id id, OperationEnd end, TimePoint now) {
    CHECK(id < operations_.size() && !ended_[id], "an operation ends once");
    ended_[id] = true;
    operations_[id].end = end;
    operations_[id].ended = now;
    return operations_[id];
  }

  std::vector<Operation<Model>> operations_;
  std::vector<bool> ended_;
  std::uint64_t places_ = 0;
  Counters counters_;
};

}  // namespace ds::sim
