#include "getfile/front/content_source.h"

#include "common/base/check.h"

namespace ds::getfile {

void BodyWaiter::StopWaiting() {
  if (next_ == nullptr) return;
  previous_->next_ = next_;
  next_->previous_ = previous_;
  previous_ = next_ = nullptr;
}

BodyWaiters::BodyWaiters() { ring_.previous_ = ring_.next_ = &ring_; }

BodyWaiters::~BodyWaiters() {
  while (!empty()) ring_.next_->StopWaiting();
}

void BodyWaiters::Add(BodyWaiter* waiter, std::uint64_t offset) {
  CHECK(!waiter->waiting());
  waiter->offset_ = offset;
  waiter->next_ = &ring_;
  waiter->previous_ = ring_.previous_;
  ring_.previous_->next_ = waiter;
  ring_.previous_ = waiter;
}

void BodyWaiters::Wake(std::uint64_t bytes_there) {
  BodyWaiter* next = nullptr;
  for (BodyWaiter* waiter = ring_.next_; waiter != &ring_; waiter = next) {
    next = waiter->next_;
    if (waiter->offset_ >= bytes_there) continue;
    waiter->StopWaiting();
    waiter->OnBodyGrown();
  }
}

void Body::Wait(BodyWaiter* /*waiter*/, std::uint64_t /*offset*/) {
  CHECK(false, "a body that said kNotYet can be waited for");
}

}  // namespace ds::getfile
