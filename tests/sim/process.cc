#include "tests/sim/process.h"

#include <utility>

#include "common/base/check.h"

namespace ds::sim {

void Process::Do(Event event) {
  if (!alive_) return;
  if (paused_ || draining_) {
    waiting_.push_back(std::move(event));
  } else {
    event();
  }
}

Scheduler::EventId Process::At(TimePoint virtual_time, Event event) {
  return scheduler_.At(virtual_time, [this, life = life_, event = std::move(event)]() mutable {
    if (alive_ && life == life_) Do(std::move(event));
  });
}

void Process::Pause() {
  if (alive_) paused_ = true;
}

void Process::Resume() {
  if (!paused_) return;
  paused_ = false;
  if (draining_ || waiting_.empty()) return;
  draining_ = true;
  scheduler_.At(scheduler_.now(), [this, life = life_] {
    if (life == life_) RunWaiting();
  });
}

void Process::RunWaiting() {
  // An event may stop the process again, kill it, or add others behind itself.
  const std::uint64_t life = life_;
  while (life == life_ && alive_ && !paused_ && !waiting_.empty()) {
    const Event event = std::move(waiting_.front());
    waiting_.pop_front();
    event();
  }
  if (life == life_) draining_ = false;
}

void Process::Kill() {
  CHECK(alive_);
  alive_ = paused_ = draining_ = false;
  ++life_;
  waiting_.clear();
}

void Process::Start() {
  CHECK(!alive_);
  alive_ = true;
}

}  // namespace ds::sim
