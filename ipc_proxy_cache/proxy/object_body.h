#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "getfile/front/content_source.h"
#include "ipc_proxy_cache/proxy/origin_body.h"
#include "ipc_proxy_cache/shm/reader_view.h"

namespace ds::ipc_proxy_cache {

/// An object while it is filled: what its clients at this worker share with whoever hears of it.
/// Belongs to the worker's thread.
struct ObjectGrowth {
  enum class State {
    kGrowing,
    kWhole,
    kBroken,  ///< no more bytes come, from anybody
    kAlone,   ///< the cache is gone: each client gets the rest from the origin
  };
  State state = State::kGrowing;
  std::size_t readers = 0;  ///< bodies
  getfile::BodyWaiters waiters;

  void End(State end) {
    state = end;
    waiters.Wake(UINT64_MAX);
  }
};

/// An object in the cache's memory as clients get it: one that is filled has a body for each of
/// them, one that is whole may have one for all. What is mapped stays readable whatever becomes of
/// the cache. Belongs to the worker's thread.
class ObjectBody final : public getfile::Body {
 public:
  /// `growth`: null for an object that is whole. `access` must outlive it.
  ObjectBody(const OriginAccess* access, std::shared_ptr<const CachedObject> object,
             std::shared_ptr<ObjectGrowth> growth);
  ~ObjectBody() override;

  Sent Send(int socket, std::string_view head, std::uint64_t offset, std::uint64_t bytes_max,
            bool hold) override;
  void Wait(getfile::BodyWaiter* waiter, std::uint64_t offset) override;

 private:
  /// What to do at an offset that is not there.
  Outcome OutcomeBeyond(std::uint64_t offset);

  const OriginAccess* const access_;
  const std::shared_ptr<const CachedObject> object_;
  const std::shared_ptr<ObjectGrowth> growth_;
  std::shared_ptr<OriginBody> rest_;  ///< from the origin
};

}  // namespace ds::ipc_proxy_cache
