#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

namespace ds::ipc_proxy_cache {

/// Which links hold which memfds, and how many bytes of memfds that the cache has dropped are held
/// still: their pages live as long as somebody maps them. Owned by the cache's one thread.
/// Deterministic, single threaded. It grows with what links have asked for and not released; both
/// are bounded by the live memfds and by retired_bytes().
class HoldingTable {
 public:
  /// The link was sent the descriptor; again is no harm. REQUIRES: `memfd` is not retired.
  void Hold(std::uint64_t link, std::uint64_t memfd);
  /// The link has let it go. False if it did not hold it, which a link never says.
  bool Release(std::uint64_t link, std::uint64_t memfd);
  /// The link has ended: it holds nothing any more.
  void EndLink(std::uint64_t link);

  /// The cache has dropped the memfd of `bytes` bytes. The links that hold it, in ascending order,
  /// are to be told RETIRED.
  std::vector<std::uint64_t> Retire(std::uint64_t memfd, std::uint64_t bytes);

  /// Of memfds that were retired and are held by some link: each once, however many hold it.
  std::uint64_t retired_bytes() const { return retired_bytes_; }
  /// Those that this link holds, whoever else does.
  std::uint64_t RetiredBytesOf(std::uint64_t link) const;
  bool Holds(std::uint64_t link, std::uint64_t memfd) const;

 private:
  void LetGo(std::uint64_t link, std::uint64_t memfd);

  std::map<std::uint64_t, std::set<std::uint64_t>> links_;    ///< their memfds
  std::map<std::uint64_t, std::set<std::uint64_t>> holders_;  ///< of a memfd
  std::map<std::uint64_t, std::uint64_t> retired_;            ///< bytes of those that are held
  std::uint64_t retired_bytes_ = 0;
};

}  // namespace ds::ipc_proxy_cache
