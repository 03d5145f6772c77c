#pragma once

#include <cstdint>

#include "common/base/rng.h"
#include "raft/core/node.h"

namespace ds::raft {

/// Messages without sense: each field is near what the node knows, or (with probability `extreme`)
/// near the ends of its type.
class RandomMessages {
 public:
  RandomMessages(Rng& rng, double extreme) : rng_(rng), extreme_(extreme) {}

  Message Any(const Node& node);
  std::uint64_t Number(const Node& node);

 private:
  std::uint64_t Extreme();
  std::uint64_t NearTerm(const Node& node);
  std::uint64_t NearIndex(const Node& node);
  LogPosition Position(const Node& node);
  Configuration AnyConfiguration();
  std::vector<EntryPtr> Entries(const Node& node, LogPosition previous);
  SnapshotMeta Meta(const Node& node);

  Rng& rng_;
  double extreme_;
};

}  // namespace ds::raft
