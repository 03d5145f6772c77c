#pragma once

#include <memory>

#include "common/base/time.h"
#include "common/net/event_loop.h"
#include "getfile/front/content_source.h"

namespace ds::getfile {

/// Another source, asked only after a delay: a slow disk or origin for experiments. Holds no
/// thread.
class DelayedSource final : public ContentSource {
 public:
  /// `loop` must outlive the source.
  DelayedSource(net::EventLoop* loop, std::unique_ptr<ContentSource> source, Duration delay)
      : loop_(loop), source_(std::move(source)), delay_(delay) {}

  std::variant<LookupResult, std::unique_ptr<PendingLookup>> Lookup(const Request& request,
                                                                    LookupSink* sink) override;
  void BeginShutdown(TimePoint deadline) override { source_->BeginShutdown(deadline); }

 private:
  class Wait;

  net::EventLoop* const loop_;
  const std::unique_ptr<ContentSource> source_;
  const Duration delay_;
};

}  // namespace ds::getfile
