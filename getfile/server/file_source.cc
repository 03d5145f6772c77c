#include "getfile/server/file_source.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <string_view>
#include <utility>

#include "common/base/http_date.h"
#include "common/base/unique_fd.h"
#include "getfile/front/send.h"
#include "getfile/server/media_types.h"

namespace ds::getfile {
namespace {

constexpr Duration kUnusedAfter = std::chrono::seconds(60);
constexpr Duration kSweepInterval = std::chrono::seconds(10);
constexpr std::uint64_t kContentBytesMax = 16384;  ///< of one file kept in memory
constexpr Duration kSettledAfter = std::chrono::seconds(2);

AnswerStatus StatusOfErrno(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EXDEV:         // it would leave the root
    case ELOOP:         // links in a circle
    case ENAMETOOLONG:  // no such name can exist
    case ENXIO:         // a socket, or a device without hardware
    case ENODEV:
      return AnswerStatus::kFileNotFound;
    default:
      return AnswerStatus::kError;
  }
}

}  // namespace

/// One open regular file. Positional reads only, so any number of connections share it.
class FileSource::OpenFile final : public Body {
 public:
  OpenFile(UniqueFd fd, const struct stat& info, const std::string& path)
      : fd_(std::move(fd)), info_(info) {
    fields_.content_type = MediaTypes::OfThisMachine().TypeOf(path);
    // Strong, but for two writes within one tick of the file system's clock: it changes with every
    // replacement and every write, also when the time of modification is set back.
    fields_.etag = fmt::format("\"{:x}-{:x}-{:x}.{:x}-{:x}.{:x}\"", info.st_ino, info.st_size,
                               info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_ctim.tv_sec,
                               info.st_ctim.tv_nsec);
    fields_.last_modified = FormatHttpDate(info.st_mtim.tv_sec);
    fields_.modified_unix_s = info.st_mtim.tv_sec;
  }

  const ContentFields& fields() const { return fields_; }
  std::uint64_t size() const { return static_cast<std::uint64_t>(info_.st_size); }
  bool SameAs(const struct stat& other) const {
    return info_.st_dev == other.st_dev && info_.st_ino == other.st_ino &&
           info_.st_size == other.st_size && info_.st_mtim.tv_sec == other.st_mtim.tv_sec &&
           info_.st_mtim.tv_nsec == other.st_mtim.tv_nsec &&
           info_.st_ctim.tv_sec == other.st_ctim.tv_sec &&
           info_.st_ctim.tv_nsec == other.st_ctim.tv_nsec;
  }

  /// Keeps the content in memory, so that head and body go out in one system call. Not for a large
  /// file: copies in many sockets take more of the processor's cache than pages shared by all. Nor
  /// for one that was written just now: another write within the same tick of the file system's
  /// clock would leave no trace in its times.
  void LoadContent() {
    if (!content_.empty() || size() == 0 || size() > kContentBytesMax) return;
    const std::chrono::seconds age(std::time(nullptr) -
                                   std::max(info_.st_mtim.tv_sec, info_.st_ctim.tv_sec));
    if (age < kSettledAfter) return;
    std::string content(size(), '\0');
    const ssize_t n = ::pread(fd_.get(), content.data(), content.size(), 0);
    if (n == static_cast<ssize_t>(content.size())) content_ = std::move(content);
  }

  Sent Send(int socket, std::string_view head, std::uint64_t offset, std::uint64_t bytes_max,
            bool hold) override {
    if (content_.empty()) return SendFromFile(socket, head, fd_.get(), offset, bytes_max, hold);
    return SendFromMemory(socket, head, std::string_view(content_).substr(offset, bytes_max), hold);
  }

 private:
  const UniqueFd fd_;
  const struct stat info_;
  ContentFields fields_;
  std::string content_;
};

struct FileSource::Opened {
  UniqueFd fd;
  struct stat info {};
  AnswerStatus status = AnswerStatus::kOk;
  bool is_folder = false;
};

FileSource::FileSource(net::EventLoop* loop, std::shared_ptr<const FileTree> tree,
                       const Options& options)
    : loop_(loop), tree_(std::move(tree)), options_(options) {}

FileSource::~FileSource() { loop_->Cancel(this); }

std::variant<LookupResult, std::unique_ptr<PendingLookup>> FileSource::Lookup(
    const Request& request, LookupSink* /*sink*/) {
  if (request.protocol == Protocol::kHttp && request.path.ends_with('/')) {
    LookupResult index = LookupPath(tree_->IndexOf(request.path));
    index.answer.is_folder = false;  // a folder of that name is no index
    return index;
  }
  return LookupPath(request.path);
}

LookupResult FileSource::LookupPath(const std::string& path) {
  const TimePoint now = loop_->now();
  const auto found = [](const std::shared_ptr<OpenFile>& file) {
    return LookupResult{
        {.status = AnswerStatus::kOk, .length = file->size(), .fields = &file->fields()}, file};
  };
  const auto cached = by_path_.find(path);
  if (cached != by_path_.end() && now - cached->second->checked_time < options_.revalidate) {
    Entry& entry = *cached->second;
    entry.used_time = now;
    entries_.splice(entries_.begin(), entries_, cached->second);
    return found(entry.file);
  }

  Opened opened = Open(path);
  if (opened.status != AnswerStatus::kOk) {
    if (cached != by_path_.end()) Evict(cached->second);
    return {{.status = opened.status, .is_folder = opened.is_folder}, nullptr};
  }
  if (cached != by_path_.end()) {
    Entry& entry = *cached->second;
    if (!entry.file->SameAs(opened.info)) {
      entry.file = std::make_shared<OpenFile>(std::move(opened.fd), opened.info, path);
    }
    entry.file->LoadContent();
    entry.checked_time = entry.used_time = now;
    entries_.splice(entries_.begin(), entries_, cached->second);
    return found(entry.file);
  }
  auto file = std::make_shared<OpenFile>(std::move(opened.fd), opened.info, path);
  if (options_.open_files_max == 0) return found(file);
  if (entries_.size() >= options_.open_files_max) Evict(std::prev(entries_.end()));
  file->LoadContent();
  entries_.push_front({path, file, now, now});
  by_path_.emplace(entries_.front().path, entries_.begin());
  if (!armed()) loop_->Arm(this, now + kSweepInterval);
  return found(file);
}

FileSource::Opened FileSource::Open(const std::string& path) {
  Opened opened;
  int fd = tree_->Open(path);
  if ((fd == -EMFILE || fd == -ENFILE) && !entries_.empty()) {
    // Cached files are a luxury when descriptors run out.
    EvictAll();
    fd = tree_->Open(path);
  }
  if (fd == -EACCES) {
    // A folder or a device that may not be read is still nothing to serve.
    const UniqueFd seen(tree_->OpenPath(path));
    if (seen && ::fstat(seen.get(), &opened.info) == 0 && !S_ISREG(opened.info.st_mode)) {
      opened.status = AnswerStatus::kFileNotFound;
      opened.is_folder = S_ISDIR(opened.info.st_mode);
      return opened;
    }
  }
  if (fd < 0) {
    opened.status = StatusOfErrno(-fd);
    return opened;
  }
  opened.fd.Reset(fd);
  if (::fstat(fd, &opened.info) != 0) {
    opened.status = AnswerStatus::kError;
  } else if (!S_ISREG(opened.info.st_mode)) {
    opened.status = AnswerStatus::kFileNotFound;
    opened.is_folder = S_ISDIR(opened.info.st_mode);
  }
  return opened;
}

void FileSource::SetTree(std::shared_ptr<const FileTree> tree) {
  tree_ = std::move(tree);
  EvictAll();
}

void FileSource::EvictAll() {
  by_path_.clear();
  entries_.clear();
}

void FileSource::Evict(EntryList::iterator entry) {
  by_path_.erase(entry->path);
  entries_.erase(entry);
}

void FileSource::OnTimer() {
  while (!entries_.empty() && loop_->now() - entries_.back().used_time > kUnusedAfter) {
    Evict(std::prev(entries_.end()));
  }
  if (!entries_.empty()) loop_->Arm(this, loop_->now() + kSweepInterval);
}

}  // namespace ds::getfile
