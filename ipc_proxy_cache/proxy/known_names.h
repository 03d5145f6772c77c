#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace ds::ipc_proxy_cache {

/// What names stand for, until there are too many or they take too many bytes: then all are
/// forgotten, and those in use come again. Not thread-safe.
template <typename Known>
class KnownNames {
 public:
  /// `bytes_max`: of names and of what they stand for.
  KnownNames(std::size_t count_max, std::size_t bytes_max)
      : count_max_(count_max), bytes_max_(bytes_max) {}

  /// Null if it is not known.
  const Known* Find(const std::string& name) const {
    const auto found = names_.find(name);
    return found == names_.end() ? nullptr : &found->second.known;
  }
  /// `bytes`: what `known` takes. A name that alone would be too much is not kept.
  void Keep(const std::string& name, Known known, std::size_t bytes) {
    Forget(name);
    bytes += name.size();
    if (bytes > bytes_max_) return;
    if (names_.size() >= count_max_ || bytes > bytes_max_ - bytes_) Clear();
    names_.emplace(name, Entry{std::move(known), bytes});
    bytes_ += bytes;
  }
  void Forget(const std::string& name) {
    const auto found = names_.find(name);
    if (found == names_.end()) return;
    bytes_ -= found->second.bytes;
    names_.erase(found);
  }
  template <typename Predicate>
  void ForgetIf(Predicate predicate) {
    absl::erase_if(names_, [&](const auto& name) {
      const bool goes = predicate(name.second.known);
      if (goes) bytes_ -= name.second.bytes;
      return goes;
    });
  }
  void Clear() {
    names_.clear();
    bytes_ = 0;
  }

  std::size_t size() const { return names_.size(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    Known known;
    std::size_t bytes;
  };

  const std::size_t count_max_;
  const std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  absl::flat_hash_map<std::string, Entry> names_;
};

}  // namespace ds::ipc_proxy_cache
