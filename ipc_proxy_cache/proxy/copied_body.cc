#include "ipc_proxy_cache/proxy/copied_body.h"

#include <algorithm>

#include "getfile/front/send.h"

namespace ds::ipc_proxy_cache {
namespace {

constexpr std::uint64_t kWindowBytes = 256U << 10U;

}  // namespace

getfile::Body::Sent CopiedBody::Send(int socket, std::string_view head, std::uint64_t offset,
                                     std::uint64_t bytes_max, bool hold) {
  AdvanceTo(offset);
  const std::string_view there =
      std::string_view(buffer_).substr(buffer_begin_).substr(0, bytes_max);
  if (there.empty() && rest_ != nullptr) return rest_->Send(socket, head, offset, bytes_max, hold);
  Sent sent;
  // The head waits for the first bytes: one call for both.
  if (!there.empty()) {
    sent = getfile::SendFromMemory(socket, head, there, hold && there.size() == bytes_max);
    if (sent.bytes > head.size()) AdvanceTo(offset + sent.bytes - head.size());
  }
  if (sent.outcome == Outcome::kSent && there.size() < bytes_max) {
    sent.outcome = failed_ && rest_ == nullptr ? Outcome::kSourceBroken : Outcome::kNotYet;
  }
  AskForMore();
  return sent;
}

void CopiedBody::Wait(getfile::BodyWaiter* waiter, std::uint64_t offset) {
  if (rest_ != nullptr && offset >= end()) return rest_->Wait(waiter, offset);
  waiters_.Add(waiter, offset);
  if (failed_ || offset < end()) waiters_.Wake(UINT64_MAX);
}

void CopiedBody::AdvanceTo(std::uint64_t offset) {
  if (offset < position_ || offset > end()) {
    buffer_.clear();
    buffer_begin_ = 0;
    position_ = offset;
    return;
  }
  buffer_begin_ += offset - position_;
  position_ = offset;
  if (buffer_begin_ >= kWindowBytes / 2 || buffer_begin_ == buffer_.size()) {
    buffer_.erase(0, buffer_begin_);
    buffer_begin_ = 0;
  }
}

void CopiedBody::AskForMore() {
  if (asked_ || failed_ || end() >= object_->body_bytes() || end() - position_ >= kWindowBytes) {
    return;
  }
  if (desk_->cache() != cache_) return GoOnWithoutCache();
  asked_ = true;
  desk_->Ask({.memfd = object_->memfd(),
              .record_offset = object_->record_offset(),
              .part = Part::kBody,
              .offset = end()},
             this);
}

void CopiedBody::GoOnWithoutCache() {
  failed_ = true;
  rest_ = OriginBody::Continue(access_, *object_, end());
}

void CopiedBody::TakeCopied(std::uint64_t offset, std::span<const std::byte> bytes) {
  // Of another place: it was asked for before AdvanceTo() went elsewhere.
  if (offset != end()) return;
  buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (bytes.empty()) failed_ = true;  // it is shorter than its record says
}

void CopiedBody::OnCopied() {
  asked_ = false;
  AskForMore();
  waiters_.Wake(failed_ ? UINT64_MAX : end());
}

void CopiedBody::OnCopyFailed() {
  asked_ = false;
  GoOnWithoutCache();
  waiters_.Wake(UINT64_MAX);
}

}  // namespace ds::ipc_proxy_cache
