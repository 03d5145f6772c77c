#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/shm/memfd.h"
#include "ipc_proxy_cache/shm/index_reader.h"
#include "ipc_proxy_cache/shm/record.h"

namespace ds::ipc_proxy_cache {

/// An object that answers are made of; as many as there are clients at it share one. Its bytes stay
/// the same and readable for as long as somebody has it: after it was evicted, after the link and
/// the cache have ended. A worker's; not thread-safe.
class CachedObject {
 public:
  CachedObject(const CachedObject&) = delete;
  CachedObject& operator=(const CachedObject&) = delete;
  ~CachedObject();

  std::string_view key() const { return record_.key(); }
  KeyHash hash() const { return record_.hash(); }
  std::string_view fields() const { return record_.fields(); }
  std::uint64_t body_bytes() const { return record_.body_bytes(); }
  /// What is there now of the body; grows while it is filled. Ask again after each turn of the
  /// worker's loop: a small object may have moved into the worker's own memory.
  std::span<const std::byte> Body() const { return record_.Body(); }

  /// Where sendfile(2) may take bytes of the body.
  struct File {
    int fd = -1;
    std::uint64_t body_offset = 0;  ///< in the file
    std::uint64_t bytes = 0;        ///< of the body that may be sent so
  };
  /// Whole pages, and the last one when it is complete. Nothing for a small object, which is only
  /// copied. The descriptor is this object's, until the end of the worker's turn.
  std::optional<File> SendfilePart() const;

  /// Only its record is here (ReaderView::AddCopy()): its body has to be asked for, by this place.
  bool head_only() const { return head_only_; }
  std::uint64_t memfd() const;
  std::uint64_t record_offset() const { return offset_; }

 private:
  friend class ReaderView;
  struct Mapping;

  CachedObject(std::shared_ptr<Mapping> mapping, std::uint64_t offset, const Record& record);
  void CopyOut();

  std::shared_ptr<Mapping> mapping_;  ///< none when it was copied out
  std::uint64_t offset_;              ///< of the record
  std::vector<std::uint64_t> copy_;   ///< record and body, aligned
  bool head_only_ = false;
  Record record_;
};

/// A worker's view of the cache's memory: the index, and the memfds that its link has mapped. Owned
/// by the link and given up with it; objects outlive it. Single threaded, no I/O but mmap(2).
class ReaderView {
 public:
  enum class Kind {
    kChunk,   ///< many objects, all complete; held only while it is live
    kObject,  ///< one object, which may be filled still; held by whoever sends it
    kCopied,  ///< not mapped: its objects come by COPY; held by whoever sends one
  };

  explicit ReaderView(IndexReader index) : index_(std::move(index)) {}

  // The index itself.
  KeyHash Hash(std::string_view key) const { return index_.Hash(key); }
  std::optional<IndexEntry> Find(const KeyHash& hash) const { return index_.Find(hash); }
  bool IsLive(std::uint64_t memfd) const { return index_.IsLive(memfd); }

  /// The index knows an object of that hash, in a memfd that the link has not asked for; or it has
  /// no copy of its record.
  struct NeedsMemfd {
    std::uint64_t memfd = 0;
    std::uint64_t record_offset = 0;
  };
  struct Hit {
    std::shared_ptr<const CachedObject> object;
    IndexEntry entry;
  };
  struct Miss {};
  /// A lookup without a lock or a system call. After NeedsMemfd: ask for it (OPEN), Map() it and
  /// look up again; a miss if it is gone.
  std::variant<Miss, NeedsMemfd, Hit> Lookup(std::string_view key);

  /// Takes over a memfd that came on the link. kInvalidArgument if it is none of a cache's; the
  /// link is to be ended then. A chunk that was retired meanwhile is not kept: Turn() returns it.
  absl::Status Map(std::uint64_t memfd, UniqueFd fd, Kind kind);

  /// The object at a place that the cache named (BEGUN, FOUND), live or not. Nothing if the memfd
  /// is not mapped; kInvalidArgument if there is no record of `key`.
  absl::StatusOr<std::shared_ptr<const CachedObject>> ObjectAt(std::uint64_t memfd,
                                                               std::uint64_t record_offset,
                                                               std::string_view key);

  /// In place of Map(), where content comes by COPY: the link holds the memfd from the first COPIED
  /// on.
  void HoldCopied(std::uint64_t memfd);
  /// A copy of a record there. kInvalidArgument if it is none. REQUIRES: HoldCopied().
  absl::StatusOr<std::shared_ptr<const CachedObject>> AddCopy(std::uint64_t memfd,
                                                              std::uint64_t record_offset,
                                                              std::vector<std::uint64_t> record);

  /// Whether something was retired since the last Turn(), which looks for what it holds of it.
  bool RetiredSince() const { return index_.retirements() != retirements_seen_; }
  /// Retired, but still sent to somebody: worth another Turn().
  std::size_t leaving() const { return leaving_.size(); }
  /// Once per turn of the worker's loop, and on RETIRED: lets go of what was retired. The ids are
  /// to be told to the cache (RELEASED): nothing of them is mapped or open here any more.
  std::vector<std::uint64_t> Turn();

  std::size_t mapped() const { return mappings_.size(); }

 private:
  using Mapping = CachedObject::Mapping;

  std::shared_ptr<Mapping> Held(std::uint64_t memfd) const;
  static absl::StatusOr<std::shared_ptr<const CachedObject>> Reference(
      const std::shared_ptr<Mapping>& mapping, std::uint64_t offset, std::string_view key);

  IndexReader index_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Mapping>> mappings_;
  /// Retired objects of their own that somebody still sends.
  std::vector<std::shared_ptr<Mapping>> leaving_;
  std::vector<std::uint64_t> released_;
  std::uint64_t retirements_seen_ = 0;
};

}  // namespace ds::ipc_proxy_cache
