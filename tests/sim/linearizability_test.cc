#include "tests/sim/linearizability.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "tests/sim/kv_model.h"

namespace ds::sim {
namespace {

using ::testing::HasSubstr;

/// Records operations of one key, times being places.
class Recorder {
 public:
  std::size_t Begin(KvOp op) { return history_.Invoke(clients_++, std::move(op), Now()); }
  void Return(std::size_t id, KvResult result = {}) {
    history_.Return(id, std::move(result), Now());
  }
  void Unknown(std::size_t id) { history_.Unknown(id, Now()); }
  void Fail(std::size_t id) { history_.Fail(id, Now()); }
  /// Begins and returns at once.
  void Whole(KvOp op, KvResult result = {}) { Return(Begin(std::move(op)), std::move(result)); }
  void Put(const std::string& value) { Whole(KvOp::Put("k", value)); }
  void Get(std::optional<std::string> value) { Whole(KvOp::Get("k"), {std::move(value), {}}); }

  History<KvModel>& history() { return history_; }
  LinearizabilityResult Check() const { return CheckLinearizablePerKey(history_); }
  Verdict verdict() const { return Check().verdict; }

 private:
  TimePoint Now() { return TimePoint(std::chrono::seconds(1000) + std::chrono::seconds(now_++)); }

  History<KvModel> history_;
  std::uint64_t clients_ = 0;
  int now_ = 0;
};

TEST(LinearizabilityTest, AnEmptyHistoryIsLinearizable) {
  EXPECT_EQ(Recorder().verdict(), Verdict::kLinearizable);
}

TEST(LinearizabilityTest, OperationsOneAfterTheOtherHaveOnlyTheirOrder) {
  Recorder good;
  good.Get(std::nullopt);
  good.Put("1");
  good.Get("1");
  good.Whole(KvOp::CompareAndSwap("k", "1", "2"), {{}, true});
  good.Whole(KvOp::CompareAndSwap("k", "1", "3"), {{}, false});
  good.Whole(KvOp::Append("k", "x"));
  good.Get("2x");
  good.Whole(KvOp::Delete("k"), {{}, true});
  good.Whole(KvOp::Delete("k"), {{}, false});
  good.Get(std::nullopt);
  EXPECT_EQ(good.verdict(), Verdict::kLinearizable);
  good.Get("2x");
  EXPECT_EQ(good.verdict(), Verdict::kNotLinearizable);
}

TEST(LinearizabilityTest, OperationsAtOneTimeHaveAnyOrder) {
  for (const char* seen : {"1", "2", "3"}) {
    Recorder r;
    const auto put1 = r.Begin(KvOp::Put("k", "1"));
    const auto put2 = r.Begin(KvOp::Put("k", "2"));
    r.Return(put1);
    r.Return(put2);
    r.Get(seen);
    EXPECT_EQ(r.verdict(),
              std::string(seen) == "3" ? Verdict::kNotLinearizable : Verdict::kLinearizable);
  }
}

TEST(LinearizabilityTest, AStaleReadIsFound) {
  Recorder r;
  r.Put("1");
  r.Put("2");
  r.Get("1");
  EXPECT_EQ(r.verdict(), Verdict::kNotLinearizable);
}

TEST(LinearizabilityTest, AReadBesideAWriteMayBeOldButNoneAfterItMayBeOlder) {
  Recorder r;
  r.Put("1");
  const auto put = r.Begin(KvOp::Put("k", "2"));
  r.Get("2");
  EXPECT_EQ(r.verdict(), Verdict::kLinearizable);
  r.Get("1");
  r.Return(put);
  EXPECT_EQ(r.verdict(), Verdict::kNotLinearizable);
}

TEST(LinearizabilityTest, ALostUpdateIsFound) {
  Recorder r;
  r.Put("0");
  const auto a = r.Begin(KvOp::CompareAndSwap("k", "0", "a"));
  const auto b = r.Begin(KvOp::CompareAndSwap("k", "0", "b"));
  r.Return(a, {{}, true});
  r.Return(b, {{}, true});
  EXPECT_EQ(r.verdict(), Verdict::kNotLinearizable);
}

TEST(LinearizabilityTest, ALostAppendIsFound) {
  Recorder r;
  const auto a = r.Begin(KvOp::Append("k", "a"));
  const auto b = r.Begin(KvOp::Append("k", "b"));
  r.Return(a);
  r.Return(b);
  r.Get("b");
  EXPECT_EQ(r.verdict(), Verdict::kNotLinearizable);
}

TEST(LinearizabilityTest, ADirtyReadOfAFailedWriteIsFound) {
  for (const bool failed : {true, false}) {
    Recorder r;
    r.Put("1");
    const auto put = r.Begin(KvOp::Put("k", "2"));
    if (failed) {
      r.Fail(put);
    } else {
      r.Unknown(put);
    }
    r.Get("2");
    EXPECT_EQ(r.verdict(), failed ? Verdict::kNotLinearizable : Verdict::kLinearizable);
  }
}

TEST(LinearizabilityTest, AnUnknownWriteMayTakeEffectLongAfter) {
  Recorder r;
  const auto put = r.Begin(KvOp::Put("k", "late"));
  r.Unknown(put);
  for (int i = 0; i < 50; ++i) {
    r.Put(std::to_string(i));
    r.Get(std::to_string(i));
  }
  EXPECT_EQ(r.verdict(), Verdict::kLinearizable) << "or never";
  r.Get("late");
  EXPECT_EQ(r.verdict(), Verdict::kLinearizable);
  r.Put("50");
  EXPECT_EQ(r.verdict(), Verdict::kLinearizable);
  r.Get("late");
  EXPECT_EQ(r.verdict(), Verdict::kNotLinearizable) << "it took effect twice";
}

TEST(LinearizabilityTest, AnUnknownWriteThatWasSeenStays) {
  Recorder r;
  r.Put("1");
  const auto put = r.Begin(KvOp::Put("k", "2"));
  r.Unknown(put);
  r.Get("2");
  r.Get("1");
  EXPECT_EQ(r.verdict(), Verdict::kNotLinearizable);
}

TEST(LinearizabilityTest, AnUnknownWriteHasNoEffectBeforeItsBegin) {
  Recorder r;
  r.Get("1");
  r.Begin(KvOp::Put("k", "1"));
  EXPECT_EQ(r.verdict(), Verdict::kNotLinearizable);
}

TEST(LinearizabilityTest, AnUnknownCompareAndSwapIsItsOwnExplanation) {
  Recorder r;
  r.Put("1");
  r.Unknown(r.Begin(KvOp::CompareAndSwap("k", "1", "2")));
  r.Unknown(r.Begin(KvOp::CompareAndSwap("k", "2", "3")));
  r.Get("3");
  EXPECT_EQ(r.verdict(), Verdict::kLinearizable);
  r.Get("2");
  EXPECT_EQ(r.verdict(), Verdict::kNotLinearizable);
}

TEST(LinearizabilityTest, TheExplanationNamesTheOperationWithWhichItEnds) {
  Recorder r;
  for (int i = 0; i < 100; ++i) r.Put("v" + std::to_string(i));
  r.Get("v42");
  for (int i = 0; i < 100; ++i) r.Put("w" + std::to_string(i));
  const LinearizabilityResult result = r.Check();
  EXPECT_EQ(result.verdict, Verdict::kNotLinearizable);
  EXPECT_THAT(result.explanation, HasSubstr("first 101 of 201 operations that returned"));
  EXPECT_TRUE(result.refuted_at);
  EXPECT_THAT(result.explanation,
              HasSubstr("[200.000000 .. 201.000000] client 100: get(k) -> \"v42\"\n"));
  EXPECT_THAT(result.explanation, HasSubstr("in the state \"v99\""));
  EXPECT_THAT(result.explanation, Not(HasSubstr("w0")));
  EXPECT_EQ(std::count(result.explanation.begin(), result.explanation.end(), '\n'), 27);
}

TEST(LinearizabilityTest, KeysAreCheckedEachForItself) {
  History<KvModel> history;
  TimePoint now;
  for (const char* key : {"a", "b"}) {
    history.Return(history.Invoke(0, KvOp::Put(key, key), now), {}, now);
  }
  history.Return(history.Invoke(0, KvOp::Get("a"), now), {"a", {}}, now);
  EXPECT_EQ(CheckLinearizablePerKey(history).verdict, Verdict::kLinearizable);
  EXPECT_EQ(CheckLinearizable(history).verdict, Verdict::kNotLinearizable)
      << "taken for operations on one register";
  history.Return(history.Invoke(0, KvOp::Get("b"), now), {"a", {}}, now);
  EXPECT_EQ(CheckLinearizablePerKey(history).verdict, Verdict::kNotLinearizable);
}

TEST(LinearizabilityTest, AStepOnSeveralKeysIsSeenWholeOrNotAtAll) {
  for (const bool whole : {true, false}) {
    History<KvStoreModel> history;
    const TimePoint now;
    const auto put = history.Invoke(1, {KvOp::Put("a", "1"), KvOp::Put("b", "1")}, now);
    const auto get = history.Invoke(2, {KvOp::Get("a"), KvOp::Get("b")}, now);
    history.Return(put, {{}, {}}, now);
    KvResult b;
    if (whole) b.value = "1";
    history.Return(get, {{"1", {}}, b}, now);
    const LinearizabilityResult result = CheckLinearizable(history);
    EXPECT_EQ(result.verdict, whole ? Verdict::kLinearizable : Verdict::kNotLinearizable);
    if (!whole) {
      EXPECT_THAT(result.explanation, HasSubstr("{a: \"1\", b: \"1\"}"));
    }
  }
}

TEST(LinearizabilityTest, WithoutBudgetTheVerdictIsUnknown) {
  Recorder r;
  for (int i = 0; i < 20; ++i) r.Put(std::to_string(i));
  const LinearizabilityResult result =
      CheckLinearizablePerKey(r.history(), {.configurations_max = 10});
  EXPECT_EQ(result.verdict, Verdict::kUnknown);
  EXPECT_THAT(result.explanation, HasSubstr("not decided after 11 configurations of 20"));
  EXPECT_EQ(r.verdict(), Verdict::kLinearizable);
}

TEST(LinearizabilityTest, WhatHasNotEndedCountsAsUnknown) {
  Recorder r;
  const auto put = r.Begin(KvOp::Put("k", "1"));
  r.Get("1");
  EXPECT_EQ(r.verdict(), Verdict::kLinearizable);
  r.Unknown(put);
  EXPECT_EQ(r.verdict(), Verdict::kLinearizable);
  EXPECT_EQ(r.history().counters(), (History<KvModel>::Counters{2, 1, 1, 0}));
}

TEST(LinearizabilityTest, AnOperationThatEndsTwiceIsABug) {
  Recorder r;
  const auto put = r.Begin(KvOp::Put("k", "1"));
  r.Unknown(put);
  EXPECT_DEATH(r.Return(put), "an operation ends once");
}

/// All orders, one after the other: what the checker has to agree with.
class BruteForce {
 public:
  explicit BruteForce(const std::vector<Operation<KvModel>>& operations) {
    for (const Operation<KvModel>& operation : operations) {
      if (operation.end != OperationEnd::kFailed) operations_.push_back(&operation);
    }
    used_.resize(operations_.size());
  }
  bool Linearizable(const KvModel::State& state = std::nullopt) {
    bool all = true;
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      all &= used_[i] || operations_[i]->end != OperationEnd::kReturned;
    }
    if (all) return true;
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      if (used_[i] || !MayComeNext(i)) continue;
      const Operation<KvModel>& operation = *operations_[i];
      const auto after =
          KvModel::Step(state, operation.op, operation.result ? &*operation.result : nullptr);
      if (!after) continue;
      used_[i] = true;
      const bool fits = Linearizable(*after);
      used_[i] = false;
      if (fits) return true;
    }
    return false;
  }

 private:
  bool MayComeNext(std::size_t i) const {
    for (std::size_t j = 0; j < operations_.size(); ++j) {
      if (!used_[j] && operations_[j]->returned_place < operations_[i]->invoked_place) return false;
    }
    return true;
  }

  std::vector<const Operation<KvModel>*> operations_;
  std::vector<bool> used_;
};

/// What `clients` that each do one operation at a time see of a register: each takes effect at some
/// moment between its begin and its end. With probability `broken` a result is made up.
History<KvModel> RandomHistory(Rng& rng, std::size_t operations, std::size_t clients,
                               std::uint64_t values, double unknown, double broken) {
  struct Client {
    std::optional<std::size_t> id;
    KvOp op;
    bool applied = false;
    KvResult result;
  };
  History<KvModel> history;
  KvModel::State state;
  std::vector<Client> all(clients);
  std::vector<KvOp> drifting;  // unknown ones, which may still take effect
  std::size_t begun = 0;
  const TimePoint now;
  const auto value = [&]() { return std::to_string(rng.Below(values)); };
  const auto maybe = [&]() -> std::optional<std::string> {
    if (rng.Bernoulli(0.2)) return std::nullopt;
    return value();
  };
  const auto apply = [&](const KvOp& op) {
    KvResult result;
    if (op.kind == KvOp::Kind::kGet) result.value = state;
    if (op.kind == KvOp::Kind::kDelete) result.done = state.has_value();
    if (op.kind == KvOp::Kind::kCompareAndSwap) result.done = state == op.expected;
    if (result.done && rng.Bernoulli(0.2)) result.done.reset();
    state = *KvModel::Step(state, op, nullptr);
    return result;
  };
  while (true) {
    if (!drifting.empty() && rng.Bernoulli(0.1)) {
      apply(drifting.back());
      drifting.pop_back();
    }
    Client& client = all[rng.Below(clients)];
    if (!client.id) {
      if (begun == operations) {
        if (std::none_of(all.begin(), all.end(),
                         [](const Client& c) { return c.id.has_value(); })) {
          return history;
        }
        continue;
      }
      ++begun;
      switch (rng.Below(6)) {
        case 0:
        case 1:
          client.op = KvOp::Get("k");
          break;
        case 2:
          client.op = KvOp::Put("k", value());
          break;
        case 3:
          client.op = KvOp::CompareAndSwap("k", maybe(), value());
          break;
        case 4:
          client.op = KvOp::Delete("k");
          break;
        default:
          client.op = values < 10 && rng.Bernoulli(0.5) ? KvOp::Append("k", value())
                                                        : KvOp::Put("k", value());
      }
      client.applied = false;
      client.id = history.Invoke(rng.Below(clients), client.op, now);
    } else if (!client.applied) {
      if (rng.Bernoulli(unknown)) {
        history.Unknown(*client.id, now);
        drifting.push_back(client.op);
        client.id.reset();
      } else if (rng.Bernoulli(unknown)) {
        history.Fail(*client.id, now);
        if (rng.Bernoulli(broken)) apply(client.op);
        client.id.reset();
      } else {
        client.result = apply(client.op);
        client.applied = true;
      }
    } else {
      if (rng.Bernoulli(unknown)) {
        history.Unknown(*client.id, now);
      } else {
        if (rng.Bernoulli(broken)) client.result.value = maybe();
        if (client.result.done && rng.Bernoulli(broken)) client.result.done = rng.Bernoulli(0.5);
        history.Return(*client.id, client.result, now);
      }
      client.id.reset();
    }
  }
}

TEST(LinearizabilityTest, AgreesWithAllOrdersOnSmallHistories) {
  int linearizable = 0;
  int broken = 0;
  for (std::uint64_t seed = 1; seed <= 12000; ++seed) {
    Rng rng(seed);
    const History<KvModel> history =
        RandomHistory(rng, 1 + rng.Below(8), 1 + rng.Below(4), rng.Bernoulli(0.3) ? 20 : 3,
                      rng.Bernoulli(0.5) ? 0.3 : 0.05, rng.Bernoulli(0.6) ? 0.5 : 0);
    const bool expected = BruteForce(history.operations()).Linearizable();
    ++(expected ? linearizable : broken);
    const LinearizabilityResult found = CheckLinearizable(history);
    ASSERT_EQ(found.verdict, expected ? Verdict::kLinearizable : Verdict::kNotLinearizable)
        << "seed " << seed << "\n"
        << found.explanation;
    ASSERT_EQ(found.explanation.empty(), expected);
  }
  EXPECT_GT(linearizable, 3000);
  EXPECT_GT(broken, 1500);
}

TEST(LinearizabilityTest, ThePrefixOfTheExplanationIsTheShortest) {
  int checked = 0;
  for (std::uint64_t seed = 1; checked < 500; ++seed) {
    Rng rng(seed);
    const History<KvModel> history = RandomHistory(rng, 8, 3, 3, 0.1, 0.4);
    const LinearizabilityResult found = CheckLinearizable(history);
    if (found.verdict == Verdict::kLinearizable) continue;
    ++checked;
    // Cut the history after each return in turn.
    std::vector<std::uint64_t> returns;
    for (const auto& operation : history.operations()) {
      if (operation.end == OperationEnd::kReturned) returns.push_back(operation.returned_place);
    }
    std::sort(returns.begin(), returns.end());
    std::size_t shortest = 0;
    for (std::size_t n = 1; n <= returns.size() && shortest == 0; ++n) {
      std::vector<Operation<KvModel>> prefix;
      for (Operation<KvModel> operation : history.operations()) {
        if (operation.invoked_place > returns[n - 1]) continue;
        if (operation.end == OperationEnd::kReturned && operation.returned_place > returns[n - 1]) {
          operation.end = OperationEnd::kUnknown;
          operation.result.reset();
          operation.returned_place = Operation<KvModel>::kNever;
        }
        prefix.push_back(operation);
      }
      if (!BruteForce(prefix).Linearizable()) shortest = n;
    }
    EXPECT_THAT(found.explanation, HasSubstr("first " + std::to_string(shortest) + " of "))
        << "seed " << seed;
  }
}

TEST(LinearizabilityTest, OneSeedTwiceGivesOneResult) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::vector<LinearizabilityResult> results;
    for (int run = 0; run < 2; ++run) {
      Rng rng(seed);
      results.push_back(CheckLinearizable(RandomHistory(rng, 200, 8, 1000, 0.05, 0.01)));
    }
    EXPECT_EQ(results[0].verdict, results[1].verdict);
    EXPECT_EQ(results[0].configurations, results[1].configurations);
    EXPECT_EQ(results[0].explanation, results[1].explanation);
  }
}

TEST(LinearizabilityTest, LongHistoriesWithManyUnknownEndsTakeLittleWork) {
  std::uint64_t most = 0;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Rng rng(seed);
    const LinearizabilityResult found =
        CheckLinearizable(RandomHistory(rng, 500, 8, 1'000'000, 0.05, 0));
    ASSERT_EQ(found.verdict, Verdict::kLinearizable) << found.explanation;
    most = std::max(most, found.configurations);
  }
  EXPECT_LT(most, 20'000U);
}

TEST(LinearizabilityTest, ABreachInALongHistoryIsProvenWithinTheBudget) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    History<KvModel> history = RandomHistory(rng, 500, 8, 1'000'000, 0.03, 0);
    const TimePoint now;
    history.Return(history.Invoke(0, KvOp::Get("k"), now), {"never written", {}}, now);
    EXPECT_EQ(CheckLinearizable(history).verdict, Verdict::kNotLinearizable) << "seed " << seed;
  }
}

}  // namespace
}  // namespace ds::sim
