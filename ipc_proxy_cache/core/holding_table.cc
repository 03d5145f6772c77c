#include "ipc_proxy_cache/core/holding_table.h"

#include "common/base/check.h"

namespace ds::ipc_proxy_cache {

void HoldingTable::Hold(std::uint64_t link, std::uint64_t memfd) {
  CHECK(!retired_.contains(memfd));
  links_[link].insert(memfd);
  holders_[memfd].insert(link);
}

std::uint64_t HoldingTable::RetiredBytesOf(std::uint64_t link) const {
  const auto held = links_.find(link);
  if (held == links_.end()) return 0;
  std::uint64_t bytes = 0;
  for (const std::uint64_t memfd : held->second) {
    if (const auto retired = retired_.find(memfd); retired != retired_.end()) {
      bytes += retired->second;
    }
  }
  return bytes;
}

bool HoldingTable::Holds(std::uint64_t link, std::uint64_t memfd) const {
  const auto held = links_.find(link);
  return held != links_.end() && held->second.contains(memfd);
}

bool HoldingTable::Release(std::uint64_t link, std::uint64_t memfd) {
  if (!Holds(link, memfd)) return false;
  std::set<std::uint64_t>& held = links_.at(link);
  held.erase(memfd);
  if (held.empty()) links_.erase(link);
  LetGo(link, memfd);
  return true;
}

void HoldingTable::EndLink(std::uint64_t link) {
  const auto held = links_.find(link);
  if (held == links_.end()) return;
  for (const std::uint64_t memfd : held->second) LetGo(link, memfd);
  links_.erase(held);
}

void HoldingTable::LetGo(std::uint64_t link, std::uint64_t memfd) {
  std::set<std::uint64_t>& holders = holders_.at(memfd);
  holders.erase(link);
  if (!holders.empty()) return;
  holders_.erase(memfd);
  const auto retired = retired_.find(memfd);
  if (retired == retired_.end()) return;
  retired_bytes_ -= retired->second;
  retired_.erase(retired);
}

std::vector<std::uint64_t> HoldingTable::Retire(std::uint64_t memfd, std::uint64_t bytes) {
  CHECK(!retired_.contains(memfd));
  const auto holders = holders_.find(memfd);
  if (holders == holders_.end()) return {};
  retired_.emplace(memfd, bytes);
  retired_bytes_ += bytes;
  return {holders->second.begin(), holders->second.end()};
}

}  // namespace ds::ipc_proxy_cache
