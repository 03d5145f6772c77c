#include "tests/sim/kv_model.h"

#include <functional>
#include <set>
#include <string_view>

#include "common/base/check.h"

namespace ds::sim {
namespace {

std::string Quoted(const std::optional<std::string>& value) {
  return value ? "\"" + *value + "\"" : "nothing";
}

std::size_t Mix(std::size_t hash, std::string_view bytes) {
  return (hash ^ std::hash<std::string_view>()(bytes)) * 0x100000001b3;
}

}  // namespace

std::string Describe(const KvOp& op, const KvResult* result) {
  const auto answer = [result](std::string_view yes, std::string_view no) -> std::string {
    if (result == nullptr) return " -> unknown";
    if (!result->done) return " -> ok";
    return " -> " + std::string(*result->done ? yes : no);
  };
  switch (op.kind) {
    case KvOp::Kind::kGet:
      return "get(" + op.key + ") -> " + (result == nullptr ? "unknown" : Quoted(result->value));
    case KvOp::Kind::kPut:
      return "put(" + op.key + ", \"" + op.value + "\")" + answer("ok", "ok");
    case KvOp::Kind::kDelete:
      return "delete(" + op.key + ")" + answer("deleted", "there was nothing");
    case KvOp::Kind::kCompareAndSwap:
      return "compare-and-swap(" + op.key + ", " + Quoted(op.expected) + ", \"" + op.value + "\")" +
             answer("swapped", "differs");
    case KvOp::Kind::kAppend:
      return "append(" + op.key + ", \"" + op.value + "\")" + answer("ok", "ok");
  }
  CHECK(false);
}

std::optional<KvModel::State> KvModel::Step(const State& state, const Op& op,
                                            const Result* result) {
  const bool told = result != nullptr && result->done.has_value();
  const bool done = told && *result->done;
  switch (op.kind) {
    case KvOp::Kind::kGet:
      if (result != nullptr && result->value != state) return std::nullopt;
      return std::optional<State>(std::in_place, state);
    case KvOp::Kind::kPut:
      return std::optional<State>(std::in_place, op.value);
    case KvOp::Kind::kDelete:
      if (told && done != state.has_value()) return std::nullopt;
      return std::optional<State>(std::in_place, std::nullopt);
    case KvOp::Kind::kCompareAndSwap: {
      const bool swaps = state == op.expected;
      if (told && done != swaps) return std::nullopt;
      if (!swaps) return std::optional<State>(std::in_place, state);
      return std::optional<State>(std::in_place, op.value);
    }
    case KvOp::Kind::kAppend:
      return std::optional<State>(std::in_place, state.value_or("") + op.value);
  }
  CHECK(false);
}

std::size_t KvModel::Hash(const State& state) {
  return state ? std::hash<std::string>()(*state) : 0x9e3779b9;
}

bool KvModel::ReadOnly(const Op& op, const Result* result) {
  const bool refused = result != nullptr && result->done == false;
  return op.kind == KvOp::Kind::kGet ||
         (refused && (op.kind == KvOp::Kind::kCompareAndSwap || op.kind == KvOp::Kind::kDelete));
}

std::vector<KvOp> KvModel::Simplify(std::span<const Operation<KvModel>* const> operations) {
  std::vector<KvOp> ops;
  ops.reserve(operations.size());
  std::set<std::string_view> seen;
  bool appends = false;  // then a value can be seen as a part of another
  for (const Operation<KvModel>* operation : operations) {
    ops.push_back(operation->op);
    appends |= operation->op.kind == KvOp::Kind::kAppend;
    if (operation->op.expected) seen.insert(*operation->op.expected);
    if (operation->result && operation->result->value) seen.insert(*operation->result->value);
  }
  if (appends) return ops;
  const std::string* unseen = nullptr;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    const KvOp& op = operations[i]->op;
    const bool writes = op.kind == KvOp::Kind::kPut || op.kind == KvOp::Kind::kCompareAndSwap;
    if (!writes || seen.contains(op.value)) continue;
    if (unseen == nullptr) unseen = &op.value;
    ops[i].value = *unseen;
  }
  return ops;
}

std::string KvModel::DescribeState(const State& state) { return Quoted(state); }

std::optional<KvStoreModel::State> KvStoreModel::Step(const State& state, const Op& op,
                                                      const Result* result) {
  if (result != nullptr && result->size() != op.size()) return std::nullopt;
  State after = state;
  for (std::size_t i = 0; i < op.size(); ++i) {
    const auto found = after.find(op[i].key);
    const KvModel::State before =
        found == after.end() ? std::nullopt : KvModel::State(found->second);
    std::optional<KvModel::State> value =
        KvModel::Step(before, op[i], result == nullptr ? nullptr : &(*result)[i]);
    if (!value) return std::nullopt;
    if (*value) {
      after[op[i].key] = **std::move(value);
    } else if (found != after.end()) {
      after.erase(found);
    }
  }
  return after;
}

std::size_t KvStoreModel::Hash(const State& state) {
  std::size_t hash = state.size();
  for (const auto& [key, value] : state) hash = Mix(Mix(hash, key), value);
  return hash;
}

bool KvStoreModel::ReadOnly(const Op& op, const Result* result) {
  if (result != nullptr && result->size() != op.size()) return false;
  for (std::size_t i = 0; i < op.size(); ++i) {
    if (!KvModel::ReadOnly(op[i], result == nullptr ? nullptr : &(*result)[i])) return false;
  }
  return true;
}

std::string KvStoreModel::Describe(const Op& op, const Result* result) {
  std::string text;
  for (std::size_t i = 0; i < op.size(); ++i) {
    const bool known = result != nullptr && i < result->size();
    text += (i == 0 ? "" : "; ") + sim::Describe(op[i], known ? &(*result)[i] : nullptr);
  }
  return text;
}

std::string KvStoreModel::DescribeState(const State& state) {
  std::string text = "{";
  for (const auto& [key, value] : state) {
    text += (text.size() == 1 ? "" : ", ") + key + ": \"" + value + "\"";
  }
  return text + "}";
}

}  // namespace ds::sim
