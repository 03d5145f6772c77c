#include "compute/core/reliable_worker.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace ds::compute {

ReliableWorker::ReliableWorker(Options options, TimePoint now)
    : options_(std::move(options)), heard_(now), heartbeat_due_(now), ready_said_(now) {
  output_.reconnect = true;
  SayReady(now);
}

void ReliableWorker::HandleFrames(const Frames& frames, TimePoint now) {
  auto message = DecodeReliable(frames);
  if (!message.ok()) return;
  heard_ = now;
  if (std::holds_alternative<VersionMessage>(*message)) {
    other_version_ = true;
  } else if (std::holds_alternative<DisconnectMessage>(*message)) {
    // At once when it has forgotten us; not when it refuses us, or the two of us would go on for
    // ever.
    if (std::exchange(registered_, false)) {
      SayReady(now);
    } else {
      ready_again_ = true;
    }
  } else if (std::holds_alternative<HeartbeatMessage>(*message) ||
             std::holds_alternative<WorkMessage>(*message)) {
    if (!registered_) heartbeat_due_ = now + options_.heartbeat;
    registered_ = true;
    ready_again_ = false;
    auto* const work = std::get_if<WorkMessage>(&*message);
    if (work == nullptr || tags_.size() >= options_.capacity) return;
    if (tags_.insert(work->tag).second) output_.work.push_back(std::move(*work));
  }
}

void ReliableWorker::Finish(ResultMessage result) {
  if (tags_.erase(result.tag) == 1) output_.to_broker.emplace_back(std::move(result));
}

void ReliableWorker::Stop() { output_.to_broker.emplace_back(DisconnectMessage{}); }

std::optional<TimePoint> ReliableWorker::NextDeadline() const {
  TimePoint next = heard_ + options_.heartbeat * options_.liveness;
  if (registered_) next = std::min(next, heartbeat_due_);
  if (ready_again_) next = std::min(next, ready_said_ + options_.heartbeat);
  return next;
}

void ReliableWorker::HandleTimeout(TimePoint now) {
  if (now - heard_ >= options_.heartbeat * options_.liveness) {
    output_ = {};
    output_.reconnect = true;
    heard_ = now;
    SayReady(now);
    return;
  }
  if (registered_ && heartbeat_due_ <= now) {
    output_.to_broker.emplace_back(HeartbeatMessage{});
    heartbeat_due_ = now + options_.heartbeat;
  }
  if (ready_again_ && now - ready_said_ >= options_.heartbeat) SayReady(now);
}

ReliableWorker::Output ReliableWorker::TakeOutput() { return std::exchange(output_, {}); }

void ReliableWorker::SayReady(TimePoint now) {
  registered_ = false;
  ready_again_ = false;
  ready_said_ = now;
  tags_.clear();
  output_.work.clear();
  output_.to_broker.emplace_back(ReadyMessage{options_.service, options_.capacity});
}

}  // namespace ds::compute
