#include "ipc_proxy_cache/core/segment_pool.h"

#include <algorithm>

#include "common/base/check.h"

namespace ds::ipc_proxy_cache {

SegmentPool::SegmentPool(std::uint32_t count) : slots_(count) {
  CHECK(count > 0);
  for (std::uint32_t segment = 0; segment < count; ++segment) free_.push_back(segment);
}

bool SegmentPool::Is(const Lease& lease, State state) const {
  return lease.segment < slots_.size() && slots_[lease.segment].token == lease.token &&
         slots_[lease.segment].state == state;
}

SegmentPool::Lease SegmentPool::LeaseOut(std::uint32_t segment) {
  slots_[segment] = {.state = State::kHeld, .token = ++last_token_};
  return {.segment = segment, .token = last_token_};
}

std::optional<SegmentPool::Grant> SegmentPool::GiveBack(std::uint32_t segment) {
  if (waiting_.empty()) {
    slots_[segment].state = State::kFree;
    free_.push_back(segment);
    return std::nullopt;
  }
  const std::uint64_t waiter = waiting_.front();
  waiting_.pop_front();
  return Grant{.waiter = waiter, .lease = LeaseOut(segment)};
}

std::optional<SegmentPool::Lease> SegmentPool::Acquire(std::uint64_t waiter) {
  CHECK(std::ranges::find(waiting_, waiter) == waiting_.end());
  // Nothing is free while somebody waits, so nobody is overtaken.
  if (free_.empty()) {
    waiting_.push_back(waiter);
    return std::nullopt;
  }
  const std::uint32_t segment = free_.front();
  free_.pop_front();
  return LeaseOut(segment);
}

bool SegmentPool::CancelWait(std::uint64_t waiter) { return std::erase(waiting_, waiter) > 0; }

void SegmentPool::HandOver(const Lease& lease, std::uint64_t link) {
  CHECK(Is(lease, State::kHeld));
  slots_[lease.segment].state = State::kHandedOver;
  slots_[lease.segment].link = link;
}

void SegmentPool::SetAside(const Lease& lease) {
  CHECK(Is(lease, State::kHandedOver));
  slots_[lease.segment].state = State::kAside;
}

SegmentPool::TakenBack SegmentPool::TakeBack(const Lease& lease, std::uint64_t link) {
  const bool aside = Is(lease, State::kAside);
  if ((!aside && !Is(lease, State::kHandedOver)) || slots_[lease.segment].link != link) return {};
  if (aside) return {.to = Return::kPool, .grant = GiveBack(lease.segment)};
  slots_[lease.segment].state = State::kHeld;
  return {.to = Return::kHolder};
}

std::optional<SegmentPool::Grant> SegmentPool::Release(const Lease& lease) {
  CHECK(Is(lease, State::kHeld));
  return GiveBack(lease.segment);
}

SegmentPool::LinkEnd SegmentPool::EndLink(std::uint64_t link) {
  LinkEnd end;
  for (std::uint32_t segment = 0; segment < slots_.size(); ++segment) {
    Slot& slot = slots_[segment];
    if (slot.link != link) continue;
    if (slot.state == State::kHandedOver) {
      slot.state = State::kHeld;
      end.returned.push_back({.segment = segment, .token = slot.token});
    } else if (slot.state == State::kAside) {
      if (const auto grant = GiveBack(segment)) end.grants.push_back(*grant);
    }
  }
  return end;
}

std::size_t SegmentPool::set_aside() const {
  return static_cast<std::size_t>(
      std::ranges::count(slots_, State::kAside, [](const Slot& slot) { return slot.state; }));
}

}  // namespace ds::ipc_proxy_cache
