#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/time.h"
#include "tests/sim/history.h"

namespace ds::sim {

/// What an object does when its operations come one at a time. Deterministic.
///   Initial()                  its state before the first operation
///   Step(state, op, result)    the state after `op`, if `op` may give this result in `state`, else
///                              none; result null: it is not known. A step whose result is not
///                              known is possible in every state.
///   Hash(state)
///   Describe(op, result)       one line for readers; DescribeState(state)
///   ReadOnly(op, result)       in no state does `op` with this result change the state; false is
///                              always right, and dearer
/// Optional:
///   Simplify(operations)       their ops, such that an order fits the results if and only if it
///   fits
///                              with the ops as they were, also for each prefix of the history: ops
///                              that no result tells apart are made equal, which saves work
/// And for CheckLinearizablePerKey(): KeyOf(op), the part of the object that `op` touches alone.
template <typename Model>
concept SequentialModel = std::equality_comparable<typename Model::State> &&
    std::equality_comparable<typename Model::Op> &&
    requires(const typename Model::State& state, const typename Model::Op& op,
             const typename Model::Result* result) {
  { Model::Initial() } -> std::convertible_to<typename Model::State>;
  { Model::Step(state, op, result) } -> std::same_as<std::optional<typename Model::State>>;
  { Model::ReadOnly(op, result) } -> std::same_as<bool>;
  { Model::Hash(state) } -> std::same_as<std::size_t>;
  { Model::Describe(op, result) } -> std::convertible_to<std::string>;
  { Model::DescribeState(state) } -> std::convertible_to<std::string>;
};

enum class Verdict : std::uint8_t {
  kLinearizable,
  kNotLinearizable,
  kUnknown,  ///< the budget was spent before either was certain
};
std::string_view Name(Verdict verdict);

struct LinearizabilityOptions {
  /// Configurations (a set of operations taken into the order, and the state after them) to look at
  /// for one object or key. Each takes some 100 bytes.
  std::uint64_t configurations_max = 1'000'000;
  /// Explanations count from it; the default is where a Scheduler begins.
  TimePoint time_zero{std::chrono::seconds(1000)};
};

struct LinearizabilityResult {
  Verdict verdict = Verdict::kLinearizable;
  std::uint64_t configurations = 0;
  /// Empty when linearizable. Else the operation with whose return the shortest prefix of the
  /// history that has no order ends, and those around it.
  std::string explanation;
  /// When that operation returned: what came later does not matter.
  std::optional<TimePoint> refuted_at;
};

namespace internal {

/// Configurations that have been looked at. Single threaded.
class ConfigurationSet {
 public:
  /// `open_words`: of each set of open operations.
  explicit ConfigurationSet(std::size_t open_words) : open_words_(open_words) {}

  /// False: there is one with the same `taken` and a subset of `open`, from which all can be
  /// reached that can be reached from this one.
  bool Insert(std::span<const std::uint64_t> taken, std::span<const std::uint64_t> open);
  std::uint64_t size() const { return size_; }

 private:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  struct Row {
    std::uint64_t hash = 0;
    std::uint64_t begin = 0;  ///< in words_
    std::uint64_t length = 0;
    std::uint64_t last_open = kNone;  ///< in opens_
  };

  std::size_t FindOrAdd(std::span<const std::uint64_t> taken);
  void Grow();

  std::size_t open_words_;
  std::uint64_t size_ = 0;
  std::vector<std::uint64_t> words_;
  std::vector<Row> rows_;
  std::vector<std::uint32_t> table_;  ///< index into rows_ plus 1; 0: empty
  /// Lists of sets: where the next one begins (kNone: nowhere), and the set's words.
  std::vector<std::uint64_t> opens_;
};

/// A set of numbers below a bound.
class BitSet {
 public:
  explicit BitSet(std::size_t bound) : words_((bound + 63) / 64) {}
  void Flip(std::size_t i) { words_[i / 64] ^= std::uint64_t{1} << (i % 64); }
  bool Has(std::size_t i) const { return (words_[i / 64] >> (i % 64) & 1) != 0; }
  std::span<const std::uint64_t> words() const { return words_; }

 private:
  std::vector<std::uint64_t> words_;
};

/// The search for an order of one object's operations: Wing and Gong, "Testing and verifying
/// concurrent objects", 1993, with the memory of configurations of Lowe, "Testing for
/// linearizability", 2017. Four things keep it small:
///   - what returned is tried before what is open (unknown), which is tried only where nothing else
///     goes on;
///   - a legal read-only operation is taken at once and never reconsidered;
///   - a configuration is left alone when another with the same state and the same returned
///     operations, but fewer of the open ones spent, has been looked at;
///   - of equal open operations only the first is tried.
template <SequentialModel Model>
class LinearizationSearch {
 public:
  using State = typename Model::State;

  /// The history before `place_end`: later begins are left out, later ends unknown. `operations`
  /// are in the order of their begins, none of them failed, and outlive the search.
  LinearizationSearch(std::span<const Operation<Model>* const> operations, std::uint64_t place_end)
      : closed_(Returned(operations, place_end)),
        open_(Open(operations, place_end)),
        taken_(closed_.size()),
        spent_(open_.size()),
        seen_(spent_.words().size()) {
    MakeEntries();
    FindTwins();
  }

  Verdict Run(std::uint64_t configurations_max) {
    std::size_t entry = 0;
    std::size_t open = 0;
    bool fresh = true;  // nothing has been tried in this configuration
    state_ = Intern(Model::Initial());
    while (true) {
      if (fresh) {
        TakeReads();
        entry = entries_[0].next;
        open = 0;
        fresh = false;
      }
      if (entry == 0) return Verdict::kLinearizable;  // all that returned is in the order
      if (seen_.size() > configurations_max) return Verdict::kUnknown;
      const Entry& here = entries_[entry];
      if (here.is_call) {
        if (!closed_[here.operation].read_only && TryClosed(entry)) {
          fresh = true;
        } else {
          entry = here.next;
        }
        continue;
      }
      // Only an open operation that began before this return can help it.
      while (open < open_.size() && open_[open].operation->invoked_place < here.place &&
             !TryOpen(open)) {
        ++open;
      }
      if (open < open_.size() && open_[open].operation->invoked_place < here.place) {
        fresh = true;
        continue;
      }
      while (!stack_.empty() && stack_.back().forced) Undo();
      if (stack_.empty()) return Verdict::kNotLinearizable;
      const Step undone = Undo();
      if (undone.is_open) {
        // It was tried last, when the scan of the entries had come to the first return.
        entry = FirstReturn();
        open = undone.index + 1;
      } else {
        entry = entries_[undone.index].next;
        open = 0;
      }
    }
  }

  /// After kLinearizable: the state at the end of the order that was found.
  const State& state() const { return *states_[state_]; }
  std::uint64_t configurations() const { return seen_.size(); }

 private:
  struct Closed {
    const Operation<Model>* operation;
    bool read_only;
  };
  struct OpenOperation {
    const Operation<Model>* operation;
    std::size_t twin;  ///< the last one before it that is equal to it; itself: none
  };
  /// Begins and returns of closed_ in their order, a list from which operations are taken out; [0]
  /// is its head.
  struct Entry {
    std::uint64_t place = 0;
    std::size_t operation = 0;  ///< in closed_
    bool is_call = false;
    std::size_t match = 0;  ///< of a begin: the return
    std::size_t prev = 0;
    std::size_t next = 0;
  };
  struct Step {
    bool is_open;
    bool forced;
    std::size_t index;    ///< in open_, or of the begin in entries_
    std::uint32_t state;  ///< before it
  };
  struct StateHash {
    std::size_t operator()(const State& state) const { return Model::Hash(state); }
  };

  static std::vector<Closed> Returned(std::span<const Operation<Model>* const> operations,
                                      std::uint64_t place_end) {
    std::vector<Closed> closed;
    for (const Operation<Model>* operation : operations) {
      if (operation->returned_place >= place_end) continue;
      const bool read_only = Model::ReadOnly(operation->op, &*operation->result);
      closed.push_back({operation, read_only});
    }
    return closed;
  }

  static std::vector<OpenOperation> Open(std::span<const Operation<Model>* const> operations,
                                         std::uint64_t place_end) {
    std::vector<OpenOperation> open;
    for (const Operation<Model>* operation : operations) {
      if (operation->invoked_place >= place_end || operation->returned_place < place_end) continue;
      if (Model::ReadOnly(operation->op, nullptr)) continue;
      open.push_back({operation, open.size()});
    }
    return open;
  }

  void MakeEntries() {
    entries_.resize(1);
    for (std::size_t i = 0; i < closed_.size(); ++i) {
      entries_.push_back({closed_[i].operation->invoked_place, i, true});
      entries_.push_back({closed_[i].operation->returned_place, i, false});
    }
    std::sort(entries_.begin() + 1, entries_.end(),
              [](const Entry& a, const Entry& b) { return a.place < b.place; });
    std::vector<std::size_t> calls(closed_.size());
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      entries_[i].prev = i == 0 ? entries_.size() - 1 : i - 1;
      entries_[i].next = i + 1 == entries_.size() ? 0 : i + 1;
      if (i == 0) continue;
      if (entries_[i].is_call) {
        calls[entries_[i].operation] = i;
      } else {
        entries_[calls[entries_[i].operation]].match = i;
      }
    }
  }

  void FindTwins() {
    for (std::size_t i = 0; i < open_.size(); ++i) {
      for (std::size_t j = i; j-- > 0;) {
        if (open_[j].operation->op == open_[i].operation->op) {
          open_[i].twin = j;
          break;
        }
      }
    }
  }

  std::uint32_t Intern(State state) {
    const auto [found, fresh] =
        ids_.try_emplace(std::move(state), static_cast<std::uint32_t>(states_.size()));
    if (fresh) states_.push_back(&found->first);
    return found->second;
  }

  void Unlink(std::size_t entry) {
    entries_[entries_[entry].prev].next = entries_[entry].next;
    entries_[entries_[entry].next].prev = entries_[entry].prev;
  }
  void Relink(std::size_t entry) {
    entries_[entries_[entry].prev].next = entry;
    entries_[entries_[entry].next].prev = entry;
  }
  void Take(std::size_t entry, std::uint32_t state, bool forced) {
    Unlink(entry);
    Unlink(entries_[entry].match);
    stack_.push_back({false, forced, entry, state_});
    state_ = state;
  }

  /// A legal read can be moved to the front of any order that begins here.
  void TakeReads() {
    for (std::size_t entry = entries_[0].next; entry != 0 && entries_[entry].is_call;) {
      const std::size_t next = entries_[entry].next;
      const Closed& closed = closed_[entries_[entry].operation];
      if (closed.read_only &&
          Model::Step(*states_[state_], closed.operation->op, &*closed.operation->result)) {
        taken_.Flip(entries_[entry].operation);
        const bool return_was_next = entries_[entry].match == next;
        const std::size_t after = return_was_next ? entries_[next].next : next;
        Take(entry, state_, true);
        entry = after;
      } else {
        entry = next;
      }
    }
  }

  bool TryClosed(std::size_t entry) {
    const std::size_t index = entries_[entry].operation;
    const Operation<Model>& operation = *closed_[index].operation;
    std::optional<State> state = Model::Step(*states_[state_], operation.op, &*operation.result);
    if (!state) return false;
    const std::uint32_t id = Intern(*std::move(state));
    taken_.Flip(index);
    if (!Remember(id)) {
      taken_.Flip(index);
      return false;
    }
    Take(entry, id, false);
    return true;
  }

  bool TryOpen(std::size_t index) {
    if (spent_.Has(index)) return false;
    const std::size_t twin = open_[index].twin;
    if (twin != index && !spent_.Has(twin)) return false;
    std::optional<State> state = Model::Step(*states_[state_], open_[index].operation->op, nullptr);
    CHECK(state.has_value(), "an operation without a known result is possible in every state");
    const std::uint32_t id = Intern(*std::move(state));
    if (id == state_) return false;
    spent_.Flip(index);
    if (!Remember(id)) {
      spent_.Flip(index);
      return false;
    }
    stack_.push_back({true, false, index, state_});
    state_ = id;
    return true;
  }

  Step Undo() {
    const Step step = stack_.back();
    stack_.pop_back();
    state_ = step.state;
    if (step.is_open) {
      spent_.Flip(step.index);
    } else {
      taken_.Flip(entries_[step.index].operation);
      Relink(entries_[step.index].match);
      Relink(step.index);
    }
    return step;
  }

  std::size_t FirstReturn() const {
    std::size_t entry = entries_[0].next;
    while (entries_[entry].is_call) entry = entries_[entry].next;
    return entry;
  }

  /// Only the words of taken_ that are neither full before nor empty after the rest go into the
  /// row: few, however long the history.
  bool Remember(std::uint32_t state) {
    const std::span<const std::uint64_t> words = taken_.words();
    std::size_t begin = 0;
    while (begin < words.size() && words[begin] == ~std::uint64_t{0}) ++begin;
    std::size_t end = words.size();
    while (end > begin && words[end - 1] == 0) --end;
    row_.clear();
    row_.push_back(state | static_cast<std::uint64_t>(begin) << 32U);
    row_.insert(row_.end(), words.begin() + static_cast<std::ptrdiff_t>(begin),
                words.begin() + static_cast<std::ptrdiff_t>(end));
    return seen_.Insert(row_, spent_.words());
  }

  std::vector<Closed> closed_;
  std::vector<OpenOperation> open_;
  std::vector<Entry> entries_;
  BitSet taken_;  ///< of closed_
  BitSet spent_;  ///< of open_
  std::vector<Step> stack_;
  std::unordered_map<State, std::uint32_t, StateHash> ids_;
  std::vector<const State*> states_;
  std::uint32_t state_ = 0;
  ConfigurationSet seen_;
  std::vector<std::uint64_t> row_;
};

/// "[12.345678 .. 12.400000] client 3: " and the like.
std::string OperationLine(TimePoint zero, TimePoint invoked, TimePoint ended, bool returned,
                          std::uint64_t client, std::string_view what);

/// Why these operations, of which there is no order, have none. `simplified` are the same.
template <SequentialModel Model>
void Explain(std::span<const Operation<Model>* const> operations,
             std::span<const Operation<Model>* const> simplified,
             const LinearizabilityOptions& options, LinearizabilityResult* result) {
  constexpr std::size_t kLinesMax = 24;
  std::vector<const Operation<Model>*> returned;
  for (const Operation<Model>* operation : operations) {
    if (operation->returned_place != Operation<Model>::kNever) returned.push_back(operation);
  }
  std::sort(returned.begin(), returned.end(),
            [](const auto* a, const auto* b) { return a->returned_place < b->returned_place; });
  // A prefix of a linearizable history is linearizable, so the shortest that is not can be found by
  // bisection. What the budget does not decide counts as linearizable: `bad` is always proven.
  std::size_t good = 0;
  std::size_t bad = returned.size();
  while (bad - good > 1) {
    const std::size_t middle = good + (bad - good) / 2;
    LinearizationSearch<Model> search(simplified, returned[middle - 1]->returned_place + 1);
    const Verdict verdict = search.Run(options.configurations_max);
    (verdict == Verdict::kNotLinearizable ? bad : good) = middle;
  }
  const Operation<Model>& last = *returned[bad - 1];
  result->refuted_at = last.ended;
  const auto line = [&](const Operation<Model>& operation) {
    const bool known = operation.returned_place <= last.returned_place;
    return OperationLine(options.time_zero, operation.invoked, operation.ended, known,
                         operation.client,
                         Model::Describe(operation.op, known ? &*operation.result : nullptr));
  };
  std::string text = "no order of the first " + std::to_string(bad) + " of " +
                     std::to_string(returned.size()) +
                     " operations that returned fits; there is none with\n" + line(last);
  LinearizationSearch<Model> before(operations, last.returned_place);
  if (before.Run(options.configurations_max) == Verdict::kLinearizable) {
    text += "An order of those before it ends in the state " +
            Model::DescribeState(before.state()) + ". ";
  }
  std::vector<const Operation<Model>*> around;
  for (const Operation<Model>* operation : operations) {
    if (operation != &last && operation->invoked_place < last.returned_place) {
      around.push_back(operation);
    }
  }
  // The latest ones, those that had not ended counting as latest, in the order of their begins.
  std::stable_sort(around.begin(), around.end(), [](const auto* a, const auto* b) {
    return a->returned_place > b->returned_place;
  });
  const std::size_t all = around.size();
  around.resize(std::min(around.size(), kLinesMax));
  std::sort(around.begin(), around.end(),
            [](const auto* a, const auto* b) { return a->invoked_place < b->invoked_place; });
  text += "The latest " + std::to_string(around.size()) + " of " + std::to_string(all) +
          " that began before it returned:\n";
  for (const Operation<Model>* operation : around) text += line(*operation);
  result->explanation = std::move(text);
}

template <SequentialModel Model>
LinearizabilityResult CheckOperations(std::span<const Operation<Model>* const> operations,
                                      const LinearizabilityOptions& options) {
  std::vector<Operation<Model>> copies;
  std::vector<const Operation<Model>*> simplified(operations.begin(), operations.end());
  if constexpr (requires { Model::Simplify(operations); }) {
    std::vector<typename Model::Op> ops = Model::Simplify(operations);
    CHECK(ops.size() == operations.size());
    copies.reserve(ops.size());
    for (std::size_t i = 0; i < ops.size(); ++i) {
      copies.push_back(*operations[i]);
      copies.back().op = std::move(ops[i]);
      simplified[i] = &copies[i];
    }
  }
  LinearizationSearch<Model> search(simplified, Operation<Model>::kNever);
  LinearizabilityResult result;
  result.verdict = search.Run(options.configurations_max);
  result.configurations = search.configurations();
  if (result.verdict == Verdict::kNotLinearizable) {
    Explain<Model>(operations, simplified, options, &result);
  } else if (result.verdict == Verdict::kUnknown) {
    result.explanation = "not decided after " + std::to_string(result.configurations) +
                         " configurations of " + std::to_string(operations.size()) + " operations";
  }
  return result;
}

}  // namespace internal

/// Whether there is an order of the operations, all taken for ones on one object, that fits their
/// results, in which what ended before another began comes before it (Herlihy and Wing,
/// "Linearizability: a correctness condition for concurrent objects", 1990). An operation whose end
/// is unknown has its place anywhere after its begin, or none. A verdict other than kUnknown is
/// certain. Deterministic. In the worst case the work is exponential in the number of operations
/// under way at once; the budget bounds it.
template <SequentialModel Model>
LinearizabilityResult CheckLinearizable(const std::vector<Operation<Model>>& operations,
                                        const LinearizabilityOptions& options = {}) {
  std::vector<const Operation<Model>*> some;
  for (const Operation<Model>& operation : operations) {
    if (operation.end != OperationEnd::kFailed) some.push_back(&operation);
  }
  return internal::CheckOperations<Model>(some, options);
}
template <SequentialModel Model>
LinearizabilityResult CheckLinearizable(const History<Model>& history,
                                        const LinearizabilityOptions& options = {}) {
  return CheckLinearizable(history.operations(), options);
}

/// As CheckLinearizable(), each key for itself: all keys together are linearizable if and only if
/// each of them is (Herlihy and Wing, theorem 1). Ends with the first key that is not; the
/// explanation is that key's.
template <SequentialModel Model>
LinearizabilityResult CheckLinearizablePerKey(const std::vector<Operation<Model>>& operations,
                                              const LinearizabilityOptions& options = {}) {
  using Key = std::remove_cvref_t<decltype(Model::KeyOf(operations.front().op))>;
  std::map<Key, std::vector<const Operation<Model>*>> keys;
  for (const Operation<Model>& operation : operations) {
    if (operation.end != OperationEnd::kFailed) {
      keys[Model::KeyOf(operation.op)].push_back(&operation);
    }
  }
  LinearizabilityResult all;
  for (const auto& entry : keys) {
    LinearizabilityResult one = internal::CheckOperations<Model>(entry.second, options);
    all.configurations += one.configurations;
    if (one.verdict == Verdict::kLinearizable) continue;
    all.verdict = one.verdict;
    all.explanation = std::move(one.explanation);
    all.refuted_at = one.refuted_at;
    if (all.verdict == Verdict::kNotLinearizable) break;
  }
  return all;
}
template <SequentialModel Model>
LinearizabilityResult CheckLinearizablePerKey(const History<Model>& history,
                                              const LinearizabilityOptions& options = {}) {
  return CheckLinearizablePerKey(history.operations(), options);
}

}  // namespace ds::sim
