#include "ipc_proxy_cache/core/fill_table.h"

#include <algorithm>

#include "common/base/check.h"

namespace ds::ipc_proxy_cache {

void FillTable::HandleWant(LinkId link, RequestId request, std::string_view key, bool in_index,
                           TimePoint now) {
  Hear(link, now);
  if (in_index) {
    ++counters_.found;
    actions_.emplace_back(fill_action::Found{link, request});
    return;
  }
  const auto known = by_key_.find(key);
  std::set<FillId>& parts = links_.at(link).fills;
  if (known != by_key_.end() && parts.contains(known->second)) {
    actions_.emplace_back(fill_action::EndLink{link, "WANT of a key whose fill it takes part in"});
    return;
  }
  const bool is_new = known == by_key_.end();
  if (parts.size() >= options_.fills_per_link_max ||
      (is_new && fills_.size() >= options_.fills_max)) {
    ++counters_.passed;
    actions_.emplace_back(fill_action::Pass{link, request});
    return;
  }
  if (is_new) {
    const FillId id{++last_fill_};
    Fill& fill = fills_[id];
    fill.key = key;
    fill.leader = link;
    by_key_.emplace(key, id);
    parts.insert(id);
    ++counters_.led;
    actions_.emplace_back(fill_action::Lead{link, request, id, fill.term});
    return;
  }
  const auto it = fills_.find(known->second);
  it->second.followers.push_back({link, {}});
  parts.insert(it->first);
  ++counters_.followed;
  actions_.emplace_back(fill_action::Follow{link, request, it->first});
  if (it->second.body) actions_.emplace_back(fill_action::Begun{link, it->first});
  ReplaceIfSilent(it);
}

std::optional<FillTable::LedFill> FillTable::FindLed(LinkId link, FillId id, Term term) const {
  const auto it = fills_.find(id);
  if (it == fills_.end()) return std::nullopt;
  const Fill& fill = it->second;
  if (fill.leader != link || fill.term != term) return std::nullopt;
  LedFill led{.key = fill.key, .begun = fill.body.has_value(), .publish = fill.publish};
  if (fill.body) {
    led.length = fill.body->length;
    led.filled = fill.body->filled;
  }
  return led;
}

void FillTable::HandleBegin(LinkId link, FillId id, Term term, std::uint64_t length,
                            TimePoint now) {
  const auto it = Led(link, id, term, now);
  if (it == fills_.end()) return;
  Fill& fill = it->second;
  if (fill.body) {
    actions_.emplace_back(fill_action::EndLink{link, "BEGIN of a fill that has begun"});
    return;
  }
  fill.body = Body{length, 0};
  actions_.emplace_back(fill_action::Begun{link, id});
  for (const Follower& follower : fill.followers)
    actions_.emplace_back(fill_action::Begun{follower.link, id});
}

void FillTable::HandleData(LinkId link, FillId id, Term term, std::uint64_t offset,
                           std::uint64_t bytes, TimePoint now) {
  const auto it = Led(link, id, term, now);
  if (it == fills_.end()) return;
  if (!FindLed(link, id, term)->TakesData(offset, bytes)) {
    actions_.emplace_back(fill_action::EndLink{link, "DATA that does not continue the body"});
    return;
  }
  Fill& fill = it->second;
  fill.body->filled += bytes;
  for (Follower& follower : fill.followers) {
    if (follower.told) continue;
    follower.told = fill.body->filled;
    actions_.emplace_back(fill_action::Progress{follower.link, id, fill.body->filled});
  }
}

void FillTable::HandleInsert(LinkId link, FillId id, Term term, TimePoint now) {
  const auto led = FindLed(link, id, term);
  CHECK(!led || led->publish, "an object whose key was purged is not inserted");
  HandleEnd(link, id, term, FillEnd::kFound, now);
}

void FillTable::HandleEnd(LinkId link, FillId id, Term term, FillEnd end, TimePoint now) {
  const auto it = Led(link, id, term, now);
  if (it == fills_.end()) return;
  const bool possible = end == FillEnd::kBroken ||
                        (end == FillEnd::kComplete ? it->second.whole() : !it->second.body);
  if (!possible) {
    actions_.emplace_back(fill_action::EndLink{link, "END that does not fit what was begun"});
    return;
  }
  Close(it, end);
}

void FillTable::HandleProgressRead(LinkId link, FillId id, TimePoint now) {
  Hear(link, now);
  const auto it = fills_.find(id);
  if (it == fills_.end()) return;
  for (Follower& follower : it->second.followers) {
    if (follower.link != link || !follower.told) continue;
    const std::uint64_t filled = it->second.body->filled;
    if (*follower.told < filled) {
      follower.told = filled;
      actions_.emplace_back(fill_action::Progress{link, id, filled});
    } else {
      follower.told.reset();
    }
  }
}

void FillTable::HandleLeave(LinkId link, FillId id, TimePoint now) {
  Hear(link, now);
  if (links_.at(link).fills.erase(id) == 0) return;
  Remove(fills_.find(id), link);
}

void FillTable::HandleAlive(LinkId link, TimePoint now) { Hear(link, now); }

void FillTable::HandleLinkEnd(LinkId link) {
  const auto it = links_.find(link);
  if (it == links_.end()) return;
  if (!it->second.silent) by_heard_.erase(it->second.place);
  const std::set<FillId> parts = std::move(it->second.fills);
  links_.erase(it);
  for (const FillId id : parts) Remove(fills_.find(id), link);
}

std::vector<LinkId> FillTable::HandlePurge(std::string_view key) {
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return {};
  Fill& fill = fills_.at(it->second);
  fill.publish = false;
  by_key_.erase(it);
  std::vector<LinkId> parts = {fill.leader};
  for (const Follower& follower : fill.followers) parts.push_back(follower.link);
  return parts;
}

std::optional<TimePoint> FillTable::NextDeadline() const {
  if (by_heard_.empty()) return std::nullopt;
  return links_.at(by_heard_.front()).heard + options_.silence_max;
}

void FillTable::HandleTimeout(TimePoint now) {
  const auto deadline = NextDeadline();
  if (!deadline || now < *deadline) return;
  if (now - *deadline >= options_.silence_max) {
    for (const LinkId id : by_heard_) links_.at(id).heard = now;
    return;
  }
  // First all that are silent, so that none of them is promoted.
  std::vector<LinkId> silent;
  while (NextDeadline() && *NextDeadline() <= now) {
    silent.push_back(by_heard_.front());
    links_.at(silent.back()).silent = true;
    by_heard_.pop_front();
  }
  for (const LinkId id : silent) {
    const std::set<FillId> parts = links_.at(id).fills;
    for (const FillId part : parts) ReplaceIfSilent(fills_.find(part));
  }
}

void FillTable::Hear(LinkId id, TimePoint now) {
  const auto [it, is_new] = links_.try_emplace(id);
  Link& link = it->second;
  link.heard = now;
  if (!is_new && !link.silent) {
    by_heard_.splice(by_heard_.end(), by_heard_, link.place);
    return;
  }
  link.silent = false;
  link.place = by_heard_.insert(by_heard_.end(), id);
  const std::set<FillId> parts = link.fills;
  for (const FillId part : parts) ReplaceIfSilent(fills_.find(part));
}

FillTable::Fills::iterator FillTable::Led(LinkId link, FillId id, Term term, TimePoint now) {
  Hear(link, now);
  const auto it = fills_.find(id);
  if (it != fills_.end() && it->second.leader == link && it->second.term == term) return it;
  ++counters_.refused;
  return fills_.end();
}

std::vector<FillTable::Follower>::iterator FillTable::FirstAlive(Fill& fill) {
  return std::find_if(fill.followers.begin(), fill.followers.end(),
                      [&](const Follower& follower) { return !IsSilent(follower.link); });
}

void FillTable::ReplaceIfSilent(Fills::iterator it) {
  Fill& fill = it->second;
  const LinkId leader = fill.leader;
  if (!IsSilent(leader)) return;
  if (fill.whole()) {  // only the leader's word is missing
    Close(it, FillEnd::kComplete);
    return;
  }
  const auto next = FirstAlive(fill);
  if (next == fill.followers.end()) return;
  actions_.emplace_back(fill_action::Demoted{leader, it->first});
  Promote(it, next);
  fill.followers.push_back({leader, {}});
}

void FillTable::Promote(Fills::iterator it, std::vector<Follower>::iterator follower) {
  Fill& fill = it->second;
  fill.leader = follower->link;
  fill.term = Term{static_cast<std::uint64_t>(fill.term) + 1};
  fill.followers.erase(follower);
  ++counters_.promoted;
  actions_.emplace_back(fill_action::Promoted{
      fill.leader, it->first, fill.term, fill.body.has_value(), fill.body ? fill.body->filled : 0});
}

void FillTable::Remove(Fills::iterator it, LinkId link) {
  Fill& fill = it->second;
  if (fill.leader != link) {
    std::erase_if(fill.followers, [&](const Follower& other) { return other.link == link; });
  } else if (fill.whole()) {
    Close(it, FillEnd::kComplete);
  } else if (fill.followers.empty()) {
    Close(it, FillEnd::kBroken);
  } else {
    const auto alive = FirstAlive(fill);
    Promote(it, alive != fill.followers.end() ? alive : fill.followers.begin());
  }
}

void FillTable::Close(Fills::iterator it, FillEnd end) {
  const FillId id = it->first;
  const Fill& fill = it->second;
  // What was found is in the index already.
  const bool publish = fill.publish && (end == FillEnd::kComplete || end == FillEnd::kNegative);
  actions_.emplace_back(fill_action::CloseFill{id, end, publish});
  const auto leader = links_.find(fill.leader);  // its link may have ended, or it has left
  if (leader != links_.end() && leader->second.fills.erase(id) == 1) {
    actions_.emplace_back(fill_action::Ended{fill.leader, id, end});
  }
  for (const Follower& follower : fill.followers) {
    links_.at(follower.link).fills.erase(id);
    actions_.emplace_back(fill_action::Ended{follower.link, id, end});
  }
  const auto joinable = by_key_.find(fill.key);
  if (joinable != by_key_.end() && joinable->second == id) by_key_.erase(joinable);
  fills_.erase(it);
}

}  // namespace ds::ipc_proxy_cache
