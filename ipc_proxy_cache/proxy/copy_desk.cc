#include "ipc_proxy_cache/proxy/copy_desk.h"

#include <algorithm>
#include <utility>

namespace ds::ipc_proxy_cache {

void CopyDesk::Ask(const Piece& piece, CopyReceiver* receiver) {
  waiting_.push_back({piece, receiver});
  Pump();
}

void CopyDesk::Cancel(CopyReceiver* receiver) {
  std::erase_if(waiting_, [&](const Wish& wish) { return wish.receiver == receiver; });
  for (auto& [token, wish] : under_way_) {
    if (wish.receiver == receiver) wish.receiver = nullptr;
  }
  if (waiting_.empty() && std::exchange(waits_, false)) desk_->CancelWait(this);
}

void CopyDesk::OnSegmentFree() {
  waits_ = false;
  Pump();
}

void CopyDesk::Pump() {
  while (!waiting_.empty() && !waits_ && under_way_.size() < kUnderWayMax) {
    const auto lease = desk_->Acquire(this);
    if (!lease) {
      waits_ = true;
      return;
    }
    Wish wish = waiting_.front();
    wish.lease = *lease;
    waiting_.pop_front();
    link_->Send(
        Copy{.memfd = wish.piece.memfd,
             .record_offset = wish.piece.record_offset,
             .part = wish.piece.part,
             .offset = wish.piece.offset,
             .segment = {
                 .index = lease->segment, .token = lease->token, .bytes = desk_->payload_bytes()}});
    desk_->HandOver(*lease);
    under_way_.emplace(lease->token, wish);
  }
}

bool CopyDesk::HandleCopied(const Copied& copied) {
  const auto found = under_way_.find(copied.token);
  if (found == under_way_.end() || copied.segment != found->second.lease.segment ||
      copied.bytes > desk_->payload_bytes()) {
    return false;
  }
  const Wish wish = found->second;
  under_way_.erase(found);
  if (wish.receiver != nullptr && !copied.gone) {
    // It stays ours until TakeBack(): nobody else writes there.
    wish.receiver->TakeCopied(wish.piece.offset,
                              desk_->memory().Payload(wish.lease).first(copied.bytes));
  }
  // First to whoever waits longest, at whichever worker.
  desk_->TakeBack(wish.lease);
  if (!copied.gone) link_->view()->HoldCopied(wish.piece.memfd);
  if (wish.receiver != nullptr) {
    if (copied.gone) {
      wish.receiver->OnCopyFailed();
    } else {
      wish.receiver->OnCopied();
    }
  }
  Pump();
  return true;
}

void CopyDesk::HandleCacheGone() {
  ++cache_;
  std::vector<CopyReceiver*> receivers;
  for (const auto& [token, wish] : std::exchange(under_way_, {})) {
    if (wish.receiver != nullptr) receivers.push_back(wish.receiver);
  }
  for (const Wish& wish : std::exchange(waiting_, {})) receivers.push_back(wish.receiver);
  if (std::exchange(waits_, false)) desk_->CancelWait(this);
  for (CopyReceiver* const receiver : receivers) receiver->OnCopyFailed();
}

}  // namespace ds::ipc_proxy_cache
