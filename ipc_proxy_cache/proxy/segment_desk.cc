#include "ipc_proxy_cache/proxy/segment_desk.h"

#include <algorithm>

#include "common/base/check.h"

namespace ds::ipc_proxy_cache {

absl::StatusOr<std::unique_ptr<SharedSegments>> SharedSegments::Create(
    const SegmentGeometry& geometry) {
  ASSIGN_OR_RETURN(SegmentMemory memory, SegmentMemory::Create(geometry));
  return std::unique_ptr<SharedSegments>(
      new SharedSegments(std::move(memory), static_cast<std::uint32_t>(geometry.count)));
}

void SharedSegments::Deliver(std::optional<SegmentPool::Grant> grant) {
  while (grant) {
    const auto found = waiters_.find(grant->waiter);
    CHECK(found != waiters_.end(), "who waits is known");
    SegmentDesk* const desk = found->second;
    waiters_.erase(found);
    // A desk ends when the proxy does: what it is granted too late nobody gives back.
    desk->loop_->Post([self = desk->self_, wait = grant->waiter, lease = grant->lease] {
      if (*self != nullptr) (*self)->OnGrant(wait, lease);
    });
    grant.reset();
  }
}

SegmentDesk::SegmentDesk(SharedSegments* shared, net::EventLoop* loop)
    : shared_(shared), loop_(loop), self_(std::make_shared<SegmentDesk*>(this)) {
  LeaveLink();
}

SegmentDesk::~SegmentDesk() {
  *self_ = nullptr;
  EndLink();
  const MutexLock lock(shared_->mutex_);
  for (const auto& [wait, waiter] : waits_) {
    shared_->pool_.CancelWait(wait);
    shared_->waiters_.erase(wait);
  }
  for (const SegmentPool::Lease& lease : granted_) {
    shared_->Deliver(shared_->pool_.Release(lease));
  }
}

std::optional<SegmentPool::Lease> SegmentDesk::Acquire(SegmentWaiter* waiter) {
  std::optional<SegmentPool::Lease> lease;
  if (!granted_.empty()) {
    lease = granted_.back();
    granted_.pop_back();
  } else {
    const MutexLock lock(shared_->mutex_);
    const std::uint64_t wait = ++shared_->last_number_;
    lease = shared_->pool_.Acquire(wait);
    if (!lease) {
      shared_->waiters_.emplace(wait, this);
      waits_.emplace(wait, waiter);
      return std::nullopt;
    }
  }
  shared_->memory().Stamp(*lease);
  return lease;
}

void SegmentDesk::CancelWait(SegmentWaiter* waiter) {
  const auto wait =
      std::ranges::find_if(waits_, [&](const auto& entry) { return entry.second == waiter; });
  if (wait == waits_.end()) return;
  const MutexLock lock(shared_->mutex_);
  shared_->pool_.CancelWait(wait->first);
  shared_->waiters_.erase(wait->first);
  waits_.erase(wait);
}

void SegmentDesk::OnGrant(std::uint64_t wait, const SegmentPool::Lease& lease) {
  granted_.push_back(lease);
  if (const auto found = waits_.find(wait); found != waits_.end()) {
    SegmentWaiter* const waiter = found->second;
    waits_.erase(found);
    waiter->OnSegmentFree();
  }
  // Nobody here needs it any more.
  const MutexLock lock(shared_->mutex_);
  for (const SegmentPool::Lease& left : std::exchange(granted_, {})) {
    shared_->Deliver(shared_->pool_.Release(left));
  }
}

void SegmentDesk::HandOver(const SegmentPool::Lease& lease) {
  const MutexLock lock(shared_->mutex_);
  shared_->pool_.HandOver(lease, link_);
  shared_->pool_.SetAside(lease);
}

bool SegmentDesk::TakeBack(const SegmentPool::Lease& lease) {
  const MutexLock lock(shared_->mutex_);
  SegmentPool::TakenBack taken = shared_->pool_.TakeBack(lease, link_);
  shared_->Deliver(taken.grant);
  return taken.to != SegmentPool::Return::kNone;
}

std::uint64_t SegmentDesk::LeaveLink() {
  const MutexLock lock(shared_->mutex_);
  return std::exchange(link_, ++shared_->last_number_);
}

void SegmentDesk::EndLink(std::uint64_t link) {
  const MutexLock lock(shared_->mutex_);
  for (const SegmentPool::Grant& grant : shared_->pool_.EndLink(link).grants) {
    shared_->Deliver(grant);
  }
}

}  // namespace ds::ipc_proxy_cache
