#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/history.h"

namespace ds::sim {

/// An operation on one key.
struct KvOp {
  enum class Kind : std::uint8_t { kGet, kPut, kDelete, kCompareAndSwap, kAppend };
  Kind kind = Kind::kGet;
  std::string key;
  std::string value;                    ///< to be written or appended
  std::optional<std::string> expected;  ///< by a compare-and-swap; none: that there is no value

  static KvOp Get(std::string key) { return {Kind::kGet, std::move(key), {}, {}}; }
  static KvOp Put(std::string key, std::string value) {
    return {Kind::kPut, std::move(key), std::move(value), {}};
  }
  static KvOp Delete(std::string key) { return {Kind::kDelete, std::move(key), {}, {}}; }
  static KvOp CompareAndSwap(std::string key, std::optional<std::string> expected,
                             std::string value) {
    return {Kind::kCompareAndSwap, std::move(key), std::move(value), std::move(expected)};
  }
  static KvOp Append(std::string key, std::string value) {
    return {Kind::kAppend, std::move(key), std::move(value), {}};
  }
  friend bool operator==(const KvOp&, const KvOp&) = default;
};

struct KvResult {
  std::optional<std::string> value;  ///< of a get; none: there is no value
  std::optional<bool> done;  ///< of a compare-and-swap: it swapped; of a delete: there was a value
                             ///< (none: the client was not told)
  friend bool operator==(const KvResult&, const KvResult&) = default;
};

std::string Describe(const KvOp& op, const KvResult* result);

/// The value of one key, for CheckLinearizablePerKey().
struct KvModel {
  using Op = KvOp;
  using Result = KvResult;
  using State = std::optional<std::string>;
  using Key = std::string;

  static State Initial() { return std::nullopt; }
  static std::optional<State> Step(const State& state, const Op& op, const Result* result);
  static std::size_t Hash(const State& state);
  static bool ReadOnly(const Op& op, const Result* result);
  /// Values that nobody has read or compared with become one value.
  static std::vector<Op> Simplify(std::span<const Operation<KvModel>* const> operations);
  static std::string Describe(const Op& op, const Result* result) {
    return sim::Describe(op, result);
  }
  static std::string DescribeState(const State& state);
  static const Key& KeyOf(const Op& op) { return op.key; }
};

/// All keys as one object, and operations on several of them that are one step: for stores that
/// promise more than linearizable keys. Dearer than KvModel.
struct KvStoreModel {
  using Op = std::vector<KvOp>;          ///< executed one after the other
  using Result = std::vector<KvResult>;  ///< of each
  using State = std::map<std::string, std::string>;

  static State Initial() { return {}; }
  static std::optional<State> Step(const State& state, const Op& op, const Result* result);
  static std::size_t Hash(const State& state);
  static bool ReadOnly(const Op& op, const Result* result);
  static std::string Describe(const Op& op, const Result* result);
  static std::string DescribeState(const State& state);
};

}  // namespace ds::sim
