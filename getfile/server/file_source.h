#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "common/base/counter.h"
#include "common/base/time.h"
#include "common/net/event_loop.h"
#include "getfile/front/content_source.h"
#include "getfile/server/file_tree.h"

namespace ds::getfile {

/// Serves the files of a FileTree, through a cache of open files: a hot file costs no system call
/// to look up. A cached file is looked at again (opened anew and compared) once it was last seen
/// longer than `revalidate` ago; between the two it may be stale. Least recently used files are
/// closed first, and all that were not asked for within a minute.
class FileSource final : public ContentSource, private net::EventLoop::Timer {
 public:
  struct Options {
    Duration revalidate = std::chrono::seconds(1);
    std::size_t open_files_max = 512;
  };

  FileSource(net::EventLoop* loop, std::shared_ptr<const FileTree> tree, const Options& options);
  ~FileSource() override;

  std::variant<LookupResult, std::unique_ptr<PendingLookup>> Lookup(const Request& request,
                                                                    LookupSink* sink) override;

  /// Serves another tree from now on; answers under way end as they began.
  void SetTree(std::shared_ptr<const FileTree> tree);

 private:
  class OpenFile;
  struct Entry {
    std::string path;
    std::shared_ptr<OpenFile> file;
    TimePoint checked_time;
    TimePoint used_time;
  };
  using EntryList = std::list<Entry>;

  LookupResult LookupPath(const std::string& path);
  /// A descriptor of a regular file, or the status that says why there is none.
  struct Opened;
  Opened Open(const std::string& path);
  void Evict(EntryList::iterator entry);
  void EvictAll();
  void OnTimer() override;

  net::EventLoop* const loop_;
  std::shared_ptr<const FileTree> tree_;
  const Options options_;
  EntryList entries_;  ///< most recently used first
  absl::flat_hash_map<std::string_view, EntryList::iterator> by_path_;  ///< keys live in entries_
};

}  // namespace ds::getfile
