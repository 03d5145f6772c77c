#include "compute/core/reliable_broker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "common/base/check.h"

namespace ds::compute {

ReliableBroker::ReliableBroker(const Options& options)
    : options_(options), next_tag_(options.first_tag), answers_(options.answers) {}

void ReliableBroker::HandleFrames(const std::string& peer, const Frames& frames, TimePoint now) {
  auto message = DecodeReliable(frames);
  if (message.ok()) {
    std::visit([&](auto& decoded) { Handle(peer, std::move(decoded), now); }, *message);
  } else if (message.status().code() == absl::StatusCode::kUnimplemented) {
    ++stats_.other_version;
    Send(peer, VersionMessage{});
  } else {
    ++stats_.malformed;
  }
}

void ReliableBroker::Handle(const std::string& peer, RequestMessage message, TimePoint now) {
  if (const auto open = tag_of_id_.find(message.id); open != tag_of_id_.end()) {
    ++stats_.repeated;
    requests_.at(open->second).client = peer;
    return;
  }
  if (const AnswerMessage* answer = answers_.Find(message.id, now)) {
    ++stats_.remembered;
    Send(peer, *answer);
    return;
  }
  if (!accepting_ || requests_.size() >= options_.open_max) {
    ++stats_.busy;
    Send(peer, AnswerMessage{std::move(message.id), AnswerStatus::kBusy,
                             accepting_ ? fmt::format("the broker is busy: {} requests are open",
                                                      requests_.size())
                                        : "the broker is shutting down"});
    return;
  }
  ++stats_.requests;
  const std::uint64_t tag = next_tag_++;
  const std::string service = message.service;
  tag_of_id_.emplace(message.id, tag);
  requests_.emplace(tag, Request{std::move(message), peer, now + options_.request_time});
  services_[service].queue.insert(tag);
  Dispatch(service, now);
}

void ReliableBroker::Handle(const std::string& peer, const ReadyMessage& message, TimePoint now) {
  if (const auto known = workers_.find(peer); known != workers_.end()) {
    RemoveWorker(known, Loss::kGoodbye, now);  // it has begun anew
  }
  if (workers_.size() >= options_.workers_max) {
    ++stats_.workers_refused;
    Send(peer, DisconnectMessage{});
    return;
  }
  workers_.emplace(peer, Worker{message.service, message.capacity, now});
  services_[message.service].free.push_back(peer);
  if (!sweep_due_) sweep_due_ = now + options_.heartbeat;
  Send(peer, HeartbeatMessage{});
  Dispatch(message.service, now);
}

void ReliableBroker::Handle(const std::string& peer, ResultMessage message, TimePoint now) {
  Worker* const worker = Heard(peer, now);
  const auto request = requests_.find(message.tag);
  if (worker == nullptr || !worker->tags.contains(message.tag)) {
    ++stats_.results_dropped;
    return;
  }
  if (worker->tags.size() == worker->capacity) services_[worker->service].free.push_back(peer);
  worker->tags.erase(message.tag);
  if (request == requests_.end() || request->second.worker != peer) {
    ++stats_.results_dropped;
  } else {
    ++stats_.answered;
    Finish(message.tag, message.status, std::move(message.body), now);
  }
  Dispatch(worker->service, now);
}

void ReliableBroker::Handle(const std::string& peer, const HeartbeatMessage& /*message*/,
                            TimePoint now) {
  Heard(peer, now);
}

void ReliableBroker::Handle(const std::string& peer, const DisconnectMessage& /*message*/,
                            TimePoint now) {
  if (const auto worker = workers_.find(peer); worker != workers_.end()) {
    RemoveWorker(worker, Loss::kGoodbye, now);
  }
}

void ReliableBroker::HandlePeerGone(const std::string& peer, TimePoint now) {
  if (const auto worker = workers_.find(peer); worker != workers_.end()) {
    RemoveWorker(worker, Loss::kDeath, now);
  }
}

ReliableBroker::Worker* ReliableBroker::Heard(const std::string& peer, TimePoint now) {
  const auto found = workers_.find(peer);
  if (found == workers_.end()) {
    Send(peer, DisconnectMessage{});
    return nullptr;
  }
  found->second.heard = now;
  return &found->second;
}

void ReliableBroker::RemoveWorker(Workers::iterator worker, Loss loss, TimePoint now) {
  const std::string peer = worker->first;
  const Worker gone = std::move(worker->second);
  workers_.erase(worker);
  Service& service = services_[gone.service];
  service.free.remove(peer);
  if (loss == Loss::kDeath) ++stats_.workers_lost;
  for (const auto& [tag, since] : gone.tags) {
    const auto found = requests_.find(tag);
    if (found == requests_.end() || found->second.worker != peer) continue;
    Request& request = found->second;
    request.worker.clear();
    if (loss == Loss::kDeath) ++request.deaths;
    if (request.deaths < options_.attempts_max) {
      ++stats_.retried;
      service.queue.insert(tag);
    } else {
      ++stats_.failed;
      Finish(tag, AnswerStatus::kWorkersDied,
             fmt::format("{} workers have died of it", request.deaths), now);
    }
  }
  Dispatch(gone.service, now);
}

void ReliableBroker::Sweep(TimePoint now) {
  std::vector<std::string> dead;
  std::vector<std::string> stuck;
  for (const auto& [peer, worker] : workers_) {
    const bool sits = std::ranges::any_of(
        worker.tags, [&](const auto& tag) { return now - tag.second > options_.request_time; });
    if (now - worker.heard >= options_.heartbeat * options_.liveness) {
      dead.push_back(peer);
    } else if (sits) {
      stuck.push_back(peer);
    } else {
      Send(peer, HeartbeatMessage{});
    }
  }
  for (const std::string& peer : dead) RemoveWorker(workers_.find(peer), Loss::kDeath, now);
  for (const std::string& peer : stuck) {
    RemoveWorker(workers_.find(peer), Loss::kDeath, now);
    Send(peer, DisconnectMessage{});
  }
  sweep_due_.reset();
  if (!workers_.empty()) sweep_due_ = now + options_.heartbeat;
}

std::optional<TimePoint> ReliableBroker::NextDeadline() const {
  std::optional<TimePoint> next = sweep_due_;
  if (!requests_.empty()) {
    const TimePoint deadline = requests_.begin()->second.deadline;
    if (!next || deadline < *next) next = deadline;
  }
  return next;
}

void ReliableBroker::HandleTimeout(TimePoint now) {
  while (!requests_.empty() && requests_.begin()->second.deadline <= now) {
    const auto& [tag, request] = *requests_.begin();
    ++stats_.failed;
    const double seconds = ToSeconds(options_.request_time);
    const std::string service = request.message.service;
    const auto found = services_.find(service);
    const bool no_worker =
        request.worker.empty() && std::ranges::none_of(workers_, [&](const auto& worker) {
          return worker.second.service == service;
        });
    if (found != services_.end()) found->second.queue.erase(tag);
    if (no_worker) {
      Finish(tag, AnswerStatus::kNoWorker,
             fmt::format("there was no worker for it for {} s", seconds), now);
    } else {
      Finish(tag, AnswerStatus::kTimedOut,
             fmt::format("no worker has answered within {} s", seconds), now);
    }
    DropServiceIfEmpty(service);
  }
  if (sweep_due_ && *sweep_due_ <= now) Sweep(now);
}

void ReliableBroker::Dispatch(const std::string& name, TimePoint now) {
  Service& service = services_[name];
  while (!service.queue.empty() && !service.free.empty()) {
    const std::uint64_t tag = *service.queue.begin();
    service.queue.erase(service.queue.begin());
    const std::string peer = service.free.front();
    service.free.pop_front();
    Worker& worker = workers_.at(peer);
    worker.tags.emplace(tag, now);
    if (worker.tags.size() < worker.capacity) service.free.push_back(peer);
    Request& request = requests_.at(tag);
    request.worker = peer;
    Send(peer, WorkMessage{tag, request.message.body});
  }
  DropServiceIfEmpty(name);
}

void ReliableBroker::DropServiceIfEmpty(const std::string& name) {
  const auto found = services_.find(name);
  if (found != services_.end() && found->second.queue.empty() && found->second.free.empty()) {
    services_.erase(found);  // busy workers come back to a new one
  }
}

void ReliableBroker::Finish(std::uint64_t tag, AnswerStatus status, std::string body,
                            TimePoint now) {
  const auto found = requests_.find(tag);
  CHECK(found != requests_.end());
  Request& request = found->second;
  AnswerMessage answer{std::move(request.message.id), status, std::move(body)};
  answers_.Add(answer.id, answer, answer.id.size() + answer.body.size(), now);
  tag_of_id_.erase(answer.id);
  Send(request.client, std::move(answer));
  requests_.erase(found);
}

std::vector<Envelope> ReliableBroker::TakeOutput() { return std::exchange(output_, {}); }

}  // namespace ds::compute
