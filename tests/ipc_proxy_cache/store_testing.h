#pragma once

#include <fcntl.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/unique_fd.h"
#include "ipc_proxy_cache/shm/evicting_store.h"
#include "ipc_proxy_cache/shm/reader_view.h"

namespace ds::ipc_proxy_cache {

/// The body of the n-th object: told apart from every other one, whole words and their order.
inline std::vector<std::byte> BodyOf(std::uint64_t n, std::size_t size) {
  std::vector<std::uint64_t> words((size + 7) / 8);
  std::uint64_t x = n * 0x9e3779b97f4a7c15U + size;
  for (std::uint64_t& word : words) word = x = x * 6364136223846793005U + 1442695040888963407U;
  std::vector<std::byte> body(size);
  if (size > 0) std::memcpy(body.data(), words.data(), size);
  return body;
}

/// Whether the object is one whole version of those that fields "<n> <size>" name.
inline bool IsWhole(const CachedObject& object) {
  const std::string fields(object.fields());
  const std::size_t space = fields.find(' ');
  if (space == std::string::npos || object.Body().size() != object.body_bytes()) return false;
  const std::uint64_t n = std::stoull(fields.substr(0, space));
  const std::size_t size = std::stoull(fields.substr(space + 1));
  return object.body_bytes() == size && std::ranges::equal(object.Body(), BodyOf(n, size));
}
inline std::string FieldsOf(std::uint64_t n, std::size_t size) {
  return std::to_string(n) + " " + std::to_string(size);
}

inline UniqueFd Duplicate(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

/// What a link does, without its messages.
class LocalLink {
 public:
  LocalLink(Store& store, std::uint64_t id)
      : store_(store), id_(id), view_(*IndexReader::Adopt(Duplicate(store.index().fd()))) {}
  ~LocalLink() { store_.holdings().EndLink(id_); }

  ReaderView& view() { return view_; }
  /// OPEN and its answer. False: gone.
  bool Open(std::uint64_t memfd) {
    const auto live = store_.Find(memfd);
    if (!live) return false;
    store_.holdings().Hold(id_, memfd);
    const auto kind = live->chunk ? ReaderView::Kind::kChunk : ReaderView::Kind::kObject;
    return view_.Map(memfd, Duplicate(live->fd), kind).ok();
  }
  std::optional<ReaderView::Hit> Lookup(const std::string& key) {
    auto found = view_.Lookup(key);
    if (const auto* needs = std::get_if<ReaderView::NeedsMemfd>(&found)) {
      if (!Open(needs->memfd)) return std::nullopt;
      found = view_.Lookup(key);
    }
    if (auto* hit = std::get_if<ReaderView::Hit>(&found)) return std::move(*hit);
    return std::nullopt;
  }
  /// How many memfds it has let go of.
  std::size_t Turn() {
    const std::vector<std::uint64_t> released = view_.Turn();
    for (const std::uint64_t memfd : released) {
      if (!store_.holdings().Release(id_, memfd)) ++wrong_releases_;
    }
    return released.size();
  }
  std::size_t wrong_releases() const { return wrong_releases_; }

 private:
  Store& store_;
  std::uint64_t id_;
  ReaderView view_;
  std::size_t wrong_releases_ = 0;
};

/// The simplest policy: the one that was inserted longest ago goes.
class FifoPolicy {
 public:
  struct HashBits {
    std::size_t operator()(const KeyHash& hash) const { return hash.low; }
  };
  struct Insertion {
    bool admitted = false;
    std::vector<KeyHash> evicted;
  };
  explicit FifoPolicy(std::uint64_t capacity) : capacity_(capacity) {}

  Insertion Insert(const KeyHash& key, std::uint64_t bytes) {
    Erase(key);
    if (bytes > capacity_) return {};
    Insertion insertion{.admitted = true, .evicted = {}};
    while (bytes_ + bytes > capacity_) {
      insertion.evicted.push_back(order_.front());
      Erase(order_.front());
    }
    order_.push_back(key);
    sizes_.emplace(key, bytes);
    bytes_ += bytes;
    return insertion;
  }
  Insertion InsertPinned(const KeyHash& key, std::uint64_t bytes) { return Insert(key, bytes); }
  bool Erase(KeyHash key) {
    const auto size = sizes_.find(key);
    if (size == sizes_.end()) return false;
    bytes_ -= size->second;
    sizes_.erase(size);
    order_.remove(key);
    return true;
  }
  std::optional<double> ValueOf(const KeyHash& key) const {
    if (!sizes_.contains(key)) return std::nullopt;
    return 1;
  }
  std::size_t objects() const { return sizes_.size(); }
  const std::unordered_map<KeyHash, std::uint64_t, HashBits>& sizes() const { return sizes_; }

 private:
  std::uint64_t capacity_;
  std::uint64_t bytes_ = 0;
  std::list<KeyHash> order_;
  std::unordered_map<KeyHash, std::uint64_t, HashBits> sizes_;
};

using FifoStore = EvictingStore<FifoPolicy>;

inline FifoStore MakeFifoStore(std::uint64_t memory_bytes) {
  Store store = *Store::Create(memory_bytes, *RandomHashSecret());
  const std::uint64_t capacity = store.layout().geometry().PolicyCapacity();
  return {std::move(store), FifoPolicy(capacity)};
}

}  // namespace ds::ipc_proxy_cache
