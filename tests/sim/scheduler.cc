#include "tests/sim/scheduler.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace ds::sim {
namespace {

double Seconds(TimePoint time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count() - 1000;
}

/// FNV-1a, 64 bit. What has to be told apart is a run from its repetition, not an adversary.
std::uint64_t Digest(std::uint64_t digest, std::string_view bytes) {
  for (const char byte : bytes) {
    digest = (digest ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  }
  return digest;
}

}  // namespace

Scheduler::EventId Scheduler::At(TimePoint time, Event event) {
  const EventId id{std::max(time, now_), next_number_++};
  events_.emplace(id, std::move(event));
  return id;
}

bool Scheduler::Step() {
  if (events_.empty()) return false;
  auto next = events_.extract(events_.begin());
  now_ = next.key().time;
  ++steps_;
  next.mapped()();
  return true;
}

Scheduler::End Scheduler::Run(TimePoint time_limit, std::uint64_t step_limit,
                              const Event& after_step) {
  while (true) {
    if (failed()) return End::kFailed;
    if (events_.empty()) return End::kIdle;
    if (events_.begin()->first.time > time_limit) {
      now_ = std::max(now_, time_limit);
      return End::kTimeLimit;
    }
    if (steps_ >= step_limit) return End::kStepLimit;
    Step();
    if (after_step) after_step();
  }
}

void Scheduler::AddTraceLine(std::string_view line) {
  const std::int64_t now = now_.time_since_epoch().count();
  digest_ = (digest_ ^ static_cast<std::uint64_t>(now)) * 0x100000001b3;
  digest_ = (Digest(digest_, line) ^ '\n') * 0x100000001b3;
  if (trace_tail_.size() == kTraceLines) {  // the oldest line's memory serves again
    trace_tail_.push_back(std::move(trace_tail_.front()));
    trace_tail_.pop_front();
  } else {
    trace_tail_.emplace_back();
  }
  trace_tail_.back().clear();
  fmt::format_to(std::back_inserter(trace_tail_.back()), "{:.6f} s, step {}: {}", Seconds(now_),
                 steps_, line);
}

void Scheduler::Fail(std::string_view what) {
  Trace("FAILED: {}", what);
  if (!failed()) failure_ = trace_tail_.back();
}

RunResult Scheduler::Result() const {
  return {failure_, steps_, digest_, {trace_tail_.begin(), trace_tail_.end()}};
}

}  // namespace ds::sim
