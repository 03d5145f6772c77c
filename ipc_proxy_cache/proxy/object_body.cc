#include "ipc_proxy_cache/proxy/object_body.h"

#include <algorithm>

#include "getfile/front/send.h"

namespace ds::ipc_proxy_cache {

ObjectBody::ObjectBody(const OriginAccess* access, std::shared_ptr<const CachedObject> object,
                       std::shared_ptr<ObjectGrowth> growth)
    : access_(access), object_(std::move(object)), growth_(std::move(growth)) {
  if (growth_ != nullptr) ++growth_->readers;
}

ObjectBody::~ObjectBody() {
  if (growth_ != nullptr) --growth_->readers;
}

getfile::Body::Sent ObjectBody::Send(int socket, std::string_view head, std::uint64_t offset,
                                     std::uint64_t bytes_max, bool hold) {
  const std::span<const std::byte> there = object_->Body();
  if (offset < there.size()) {
    const auto file = access_->sendfile ? object_->SendfilePart() : std::nullopt;
    if (file && offset < file->bytes) {
      const std::uint64_t bytes = std::min(bytes_max, file->bytes - offset);
      return getfile::SendFromFile(socket, head, file->fd, file->body_offset + offset, bytes,
                                   hold && bytes == bytes_max);
    }
    const auto part = there.subspan(offset, std::min(bytes_max, there.size() - offset));
    return getfile::SendFromMemory(socket, head,
                                   {reinterpret_cast<const char*>(part.data()), part.size()},
                                   hold && part.size() == bytes_max);
  }
  const Outcome outcome = OutcomeBeyond(offset);
  if (rest_ != nullptr) return rest_->Send(socket, head, offset, bytes_max, hold);
  Sent sent;
  if (!head.empty()) sent = getfile::SendFromMemory(socket, head, {}, false);
  if (sent.outcome == Outcome::kSent) sent.outcome = outcome;
  return sent;
}

getfile::Body::Outcome ObjectBody::OutcomeBeyond(std::uint64_t offset) {
  if (growth_ == nullptr || growth_->state == ObjectGrowth::State::kBroken) {
    return Outcome::kSourceBroken;
  }
  if (growth_->state != ObjectGrowth::State::kAlone) return Outcome::kNotYet;
  if (rest_ == nullptr) {
    rest_ = OriginBody::Continue(access_, *object_, offset);
    if (rest_ == nullptr) return Outcome::kSourceBroken;
  }
  return Outcome::kNotYet;
}

void ObjectBody::Wait(getfile::BodyWaiter* waiter, std::uint64_t offset) {
  if (rest_ != nullptr) return rest_->Wait(waiter, offset);
  growth_->waiters.Add(waiter, offset);
}

}  // namespace ds::ipc_proxy_cache
