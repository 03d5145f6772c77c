#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "getfile/front/content_source.h"
#include "ipc_proxy_cache/proxy/copy_desk.h"
#include "ipc_proxy_cache/proxy/origin_body.h"
#include "ipc_proxy_cache/shm/reader_view.h"

namespace ds::ipc_proxy_cache {

/// An object that comes through segments, as one client gets it: the next bytes are copied out of
/// the segment at once, so that a slow client holds none. When the cache goes, the rest comes from
/// the origin, whenever it is needed. Belongs to the worker's thread.
class CopiedBody final : public getfile::Body, private CopyReceiver {
 public:
  /// `object`: its head alone. `access` and `desk` must outlive it.
  CopiedBody(const OriginAccess* access, CopyDesk* desk, std::shared_ptr<const CachedObject> object)
      : access_(access), desk_(desk), cache_(desk->cache()), object_(std::move(object)) {}
  ~CopiedBody() override { desk_->Cancel(this); }

  Sent Send(int socket, std::string_view head, std::uint64_t offset, std::uint64_t bytes_max,
            bool hold) override;
  void Wait(getfile::BodyWaiter* waiter, std::uint64_t offset) override;

 private:
  void TakeCopied(std::uint64_t offset, std::span<const std::byte> bytes) override;
  void OnCopied() override;
  void OnCopyFailed() override;
  void AdvanceTo(std::uint64_t offset);
  void AskForMore();
  void GoOnWithoutCache();
  std::uint64_t end() const { return position_ + buffer_.size() - buffer_begin_; }

  const OriginAccess* const access_;
  CopyDesk* const desk_;
  const std::uint64_t cache_;  ///< that has the object
  const std::shared_ptr<const CachedObject> object_;
  std::uint64_t position_ = 0;  ///< in the body: where the buffer begins
  std::string buffer_;
  std::size_t buffer_begin_ = 0;
  bool asked_ = false;
  bool failed_ = false;
  getfile::BodyWaiters waiters_;
  std::shared_ptr<OriginBody> rest_;  ///< when the cache is gone, if the origin may be asked
};

}  // namespace ds::ipc_proxy_cache
