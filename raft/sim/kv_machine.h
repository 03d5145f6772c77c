#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "tests/sim/kv_model.h"

namespace ds::raft {

/// The state machine of simulated members: keys with values. Deterministic. Single threaded.
class KvMachine {
 public:
  /// The bytes of a put or a compare-and-swap.
  static std::string Encode(const sim::KvOp& op);

  /// Executes the bytes of Encode(). REQUIRES: they are such.
  sim::KvResult Apply(std::string_view command);
  std::optional<std::string> Get(const std::string& key) const;

  /// Of the state.
  std::uint64_t digest() const;
  std::string Snapshot() const;
  /// kDataLoss if the bytes are none of Snapshot(); the state is then empty.
  absl::Status Load(std::string_view snapshot);

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace ds::raft
