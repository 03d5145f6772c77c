#include "getfile/front/delayed_source.h"

#include <utility>

namespace ds::getfile {

class DelayedSource::Wait final : public PendingLookup, private net::EventLoop::Timer {
 public:
  Wait(DelayedSource* owner, Request request, LookupSink* sink)
      : owner_(owner), request_(std::move(request)), sink_(sink) {
    owner_->loop_->Arm(this, std::chrono::steady_clock::now() + owner_->delay_);
  }
  ~Wait() override { owner_->loop_->Cancel(this); }

 private:
  void OnTimer() override {
    auto outcome = owner_->source_->Lookup(request_, sink_);
    if (auto* pending = std::get_if<std::unique_ptr<PendingLookup>>(&outcome)) {
      pending_ = std::move(*pending);  // it calls the sink itself
      return;
    }
    sink_->OnLookup(std::get<LookupResult>(std::move(outcome)));  // destroys this
  }

  DelayedSource* const owner_;
  const Request request_;
  LookupSink* const sink_;
  std::unique_ptr<PendingLookup> pending_;
};

std::variant<LookupResult, std::unique_ptr<PendingLookup>> DelayedSource::Lookup(
    const Request& request, LookupSink* sink) {
  return std::make_unique<Wait>(this, request, sink);
}

}  // namespace ds::getfile
