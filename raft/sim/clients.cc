#include "raft/sim/clients.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace ds::raft {

using std::chrono::microseconds;
using std::chrono::milliseconds;

Clients::Clients(sim::Scheduler& scheduler, const std::vector<std::unique_ptr<Member>>& members,
                 const Options& options, Totals& totals, std::uint64_t seed)
    : scheduler_(scheduler),
      members_(members),
      options_(options),
      totals_(totals),
      rng_(seed),
      clients_(options.clients) {
  for (std::size_t i = 0; i < clients_.size(); ++i) clients_[i].number = i;
}

void Clients::Start() {
  for (Client& client : clients_) Think(&client);
}

NodeId Clients::AnyMember() { return NodeId(rng_.Below(members_.size())); }

void Clients::Think(Client* client) {
  // Paced so that the operations that are wanted are begun by the end, whatever the faults cost.
  const Duration left = std::max<Duration>(options_.end - scheduler_.now(), Duration::zero());
  const std::uint64_t wanted = options_.operations + options_.operations / 4;
  const std::uint64_t rest = wanted > invoked() ? wanted - invoked() : 1;
  const Duration mean = std::clamp<Duration>(
      left * static_cast<std::int64_t>(clients_.size()) / static_cast<std::int64_t>(rest),
      milliseconds(2), milliseconds(500));
  const bool hurry = scheduler_.now() < hurry_until_;
  scheduler_.After(rng_.Exponential(hurry ? Duration(milliseconds(2)) : mean),
                   [this, client] { Begin(client); });
}

void Clients::Begin(Client* client) {
  if (stopped_) return;
  const std::string key = fmt::format(
      "k{}", rng_.Below(scheduler_.now() < hurry_until_ ? std::min<std::uint64_t>(2, options_.keys)
                                                        : options_.keys));
  const std::uint64_t kind = rng_.Below(100);
  if (kind < 50) {
    client->op = sim::KvOp::Get(key);
  } else {
    const std::string value = fmt::format("{}", next_value_++);
    const auto seen = client->seen.find(key);
    client->op = kind < 80 || seen == client->seen.end()
                     ? sim::KvOp::Put(key, value)
                     : sim::KvOp::CompareAndSwap(key, seen->second, value);
  }
  client->begin = scheduler_.now();
  client->operation = history_.Invoke(client->number, client->op, client->begin);
  ++totals_[Total::kOperations];
  client->deadline =
      scheduler_.After(rng_.Between(milliseconds(400), milliseconds(1500)), [this, client] {
        client->deadline.reset();
        GiveUp(client);
      });
  Attempt(client);
}

void Clients::Attempt(Client* client) {
  const std::uint64_t attempt = ++client->attempt;
  // Gets go to followers, and to leaders that have been deposed and do not know.
  const bool anybody = client->op.kind == sim::KvOp::Kind::kGet && rng_.Bernoulli(0.6);
  const NodeId to = anybody ? AnyMember() : client->leader;
  client->asked = true;
  const bool request_lost = loss_ > 0 && rng_.Bernoulli(loss_);
  const bool answer_lost = loss_ > 0 && rng_.Bernoulli(loss_);
  const Duration back = Delay();
  if (request_lost) return;
  scheduler_.After(Delay(), [this, client, attempt, to, answer_lost, back] {
    const auto answer_to = [this, client, attempt, answer_lost, back](const Answer& answer) {
      if (answer_lost) return;
      scheduler_.After(back, [this, client, attempt, answer] { Heard(client, attempt, answer); });
    };
    const bool listens = members_[to.value()]->Ask(client->number, client->op, answer_to);
    if (!listens) answer_to(Answer{});
  });
}

void Clients::Heard(Client* client, std::uint64_t attempt, const Answer& answer) {
  if (attempt != client->attempt || !client->operation) return;
  switch (answer.kind) {
    case Answer::Kind::kDone:
      Done(client, answer.result);
      return;
    case Answer::Kind::kRefused:
    case Answer::Kind::kNeverExecuted:
      client->asked = false;
      Retry(client, answer.leader);
      return;
  }
}

void Clients::Retry(Client* client, std::optional<NodeId> leader) {
  // An operation that was only refused may be tried elsewhere: it has not been executed.
  const bool hint = leader && *leader != client->leader && leader->value() < members_.size();
  client->leader = hint ? *leader : AnyMember();
  const std::uint64_t attempt = ++client->attempt;
  const Duration pause =
      hint ? microseconds(200) : Duration(rng_.Between(milliseconds(5), milliseconds(40)));
  scheduler_.After(pause, [this, client, attempt] {
    if (attempt == client->attempt && client->operation) Attempt(client);
  });
}

void Clients::Done(Client* client, const sim::KvResult& result) {
  if (client->deadline) scheduler_.Cancel(*client->deadline);
  client->deadline.reset();
  history_.Return(*client->operation, result, scheduler_.now());
  client->operation.reset();
  ++totals_[Total::kSucceeded];
  const sim::KvOp& op = client->op;
  if (op.kind == sim::KvOp::Kind::kGet) {
    client->seen[op.key] = result.value;
  } else {
    newest_write_ = std::max(newest_write_.value_or(client->begin), client->begin);
    if (op.kind == sim::KvOp::Kind::kPut || result.done == true) client->seen[op.key] = op.value;
  }
  Think(client);
}

void Clients::GiveUp(Client* client) {
  CHECK(client->operation.has_value());
  if (client->asked) {
    history_.Unknown(*client->operation, scheduler_.now());
    ++totals_[Total::kUnknown];
  } else {
    history_.Fail(*client->operation, scheduler_.now());
    ++totals_[Total::kNotExecuted];
  }
  client->operation.reset();
  client->leader = AnyMember();
  ++client->attempt;
  Think(client);
}

}  // namespace ds::raft
