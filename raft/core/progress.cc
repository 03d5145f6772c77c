#include "raft/core/progress.h"

#include <algorithm>

#include "common/base/check.h"

namespace ds::raft {

bool Progress::MaySend(const Limits& limits) const {
  switch (state_) {
    case State::kProbe:
      return !probe_sent_;
    case State::kReplicate:
      return in_flight_.size() < limits.requests && in_flight_bytes_ < limits.bytes;
    case State::kSnapshot:
      return false;
  }
  CHECK(false);
}

void Progress::Sent(LogIndex last, std::uint64_t bytes) {
  if (state_ == State::kProbe) {
    probe_sent_ = true;
    return;
  }
  in_flight_.push_back({last, bytes});
  in_flight_bytes_ += bytes;
  next_ = last + 1;
}

void Progress::Accepted(LogIndex match) {
  match_ = std::max(match_, match);
  next_ = std::max(next_, match_ + 1);
  if (state_ == State::kProbe) {
    state_ = State::kReplicate;
    next_ = match_ + 1;
  }
  while (!in_flight_.empty() && in_flight_.front().last <= match_) {
    in_flight_bytes_ -= in_flight_.front().bytes;
    in_flight_.pop_front();
  }
}

void Progress::Refused(LogIndex next) {
  if (state_ == State::kSnapshot) return;
  next = std::max(next, match_ + 1);
  if (state_ == State::kProbe && next >= next_) return;
  EnterProbe(std::min(next, next_));
}

void Progress::Lost() {
  if (state_ == State::kSnapshot) return;
  EnterProbe(state_ == State::kReplicate ? match_ + 1 : next_);
  probe_sent_ = true;
}

void Progress::EnterProbe(LogIndex next) {
  state_ = State::kProbe;
  next_ = next;
  probe_sent_ = false;
  in_flight_.clear();
  in_flight_bytes_ = 0;
}

Progress::Snapshot& Progress::snapshot() {
  CHECK(state_ == State::kSnapshot);
  return snapshot_;
}

const Progress::Snapshot& Progress::snapshot() const {
  CHECK(state_ == State::kSnapshot);
  return snapshot_;
}

void Progress::EnterSnapshot(LogPosition last, std::uint64_t bytes, std::uint64_t now) {
  EnterProbe(match_ + 1);
  state_ = State::kSnapshot;
  snapshot_ = {.last = last, .bytes = bytes, .moved = now};
}

void Progress::LeaveSnapshot() {
  EnterProbe(match_ + 1);
  state_ = State::kReplicate;
}

}  // namespace ds::raft
