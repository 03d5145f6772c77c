#include "udp_transfer/server/partial_store.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "udp_transfer/core/transfer_name.h"
#include "udp_transfer/seal/file_digest.h"
#include "udp_transfer/server/partial_state.h"

namespace ds::udp_transfer {
namespace {

using What = fs::DiskFile::What;

/// Write-out begins in steps of this size, so that a sync has little left to do.
constexpr std::uint64_t kWriteOutBytes = std::uint64_t{8} << 20U;
constexpr std::size_t kReadBytes = std::size_t{1} << 20U;
/// Of a prefix in one Prepare(): tens of milliseconds, for which others wait.
constexpr std::uint64_t kPrepareBytes = std::uint64_t{8} << 20U;
constexpr Duration kCheckpointInterval = std::chrono::seconds(1);

std::string Hidden(std::string_view name) { return fmt::format("{}/{}", kPartialFolder, name); }
std::string PartName(const std::string& key) { return Hidden(key + ".part"); }
std::string StateName(const std::string& key) { return Hidden(key + ".state"); }
std::string NewStateName(const std::string& key) { return Hidden(key + ".state.new"); }

absl::Status Closed() { return Error(absl::StatusCode::kAborted, "write: the file is closed"); }
absl::Status TakenOver() {
  return Error(absl::StatusCode::kAborted, "another connection has taken this transfer over");
}

absl::StatusOr<PartialState> ReadState(fs::Disk* disk, const std::string& key) {
  ASSIGN_OR_RETURN(const auto file, disk->OpenFile(StateName(key), fs::Disk::Open::kExisting));
  std::string bytes(PartialState::kBytesMax, '\0');
  ASSIGN_OR_RETURN(const std::size_t size,
                   file->ReadAt(0, std::as_writable_bytes(std::span(bytes))));
  bytes.resize(size);
  return PartialState::Parse(bytes);
}

}  // namespace

/// A file being received: what File is a handle of. Its mutex is held by the owner's thread for as
/// long as a call lasts, disk included; else only by one who takes the transfer over. Locks are
/// taken in this order: the newer transfer, the older one, the store.
class Transfer : public std::enable_shared_from_this<Transfer> {
 public:
  /// Of fast mode.
  Transfer(PartialStore* store, const OpenMessage& open, const DigestKey& key)
      : store_(store),
        disk_(store->disk_),
        name_(open.name),
        size_(open.size),
        open_(open),
        key_(StateOf(open).Key()),
        part_(PartName(key_)),
        digest_key_(key) {
    Reset();
  }

  /// Of classic mode.
  Transfer(PartialStore* store, std::string name, std::uint64_t size, std::string part)
      : store_(store),
        disk_(store->disk_),
        name_(std::move(name)),
        size_(size),
        part_(std::move(part)) {
    Reset();
  }

  PartialStore* store() const { return store_; }
  const std::string& key() const { return key_; }
  std::uint64_t size() const { return size_; }
  /// How much of it its part holds by now. Without its mutex.
  std::uint64_t bytes_on_disk() const { return on_disk_.load(std::memory_order_relaxed); }

  absl::Status Begin() {
    MutexLock lock(mutex_);
    const bool resume = open_ && open_->resume;
    return BeginPart(resume, resume || (open_ && store_->options_.overwrite == Overwrite::kNo));
  }

  /// Begins with a file that is complete; it need not be registered, since nobody writes it.
  absl::Status BeginComplete(FinalNames::Found found) {
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(store_->failure());
    TakeComplete(std::move(found));
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Prepare() {
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(Check());
    if (!preparing_) return true;
    absl::StatusOr<bool> whole = ReadPrefix();
    if (whole.ok()) return whole;
    if (!complete_ && !IsNoPrefix(whole.status())) {
      CloseAndKeep();
      return whole;
    }
    RETURN_IF_ERROR(StartAgain());
    return true;
  }

  std::uint64_t offset() {
    MutexLock lock(mutex_);
    return written_;
  }

  std::string digest() {
    MutexLock lock(mutex_);
    return DigestValue();
  }

  absl::Status Restart() {
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(CheckReady());
    return StartAgain();
  }

  absl::Status Append(std::span<const std::byte> bytes, TimePoint now) {
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(CheckReady());
    if (bytes.size() > size_ - written_) {
      return Error(absl::StatusCode::kOutOfRange,
                   fmt::format("store \"{}\": more than its size", EscapeBytes(name_)));
    }
    if (complete_) {
      UpdateDigests(bytes);
      written_ += bytes.size();
      return absl::OkStatus();
    }
    return ClosedAfter(Write(bytes, now));
  }

  bool Matches(std::string_view digest) {
    MutexLock lock(mutex_);
    return DigestValue() == digest;
  }

  // The steps of PartialStore::Complete(), each for all of its files. A transfer may be taken over
  // in between: until it has its name the others then fail, behind it that changes nothing.

  absl::Status StartSync() {
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(CheckReady());
    if (written_ != size_) {
      return Error(absl::StatusCode::kOutOfRange,
                   fmt::format("store \"{}\": less than its size", EscapeBytes(name_)));
    }
    if (complete_) {
      const bool same = open_->resume || plain_.Value() == durable_digest_;
      return same ? absl::OkStatus() : ClosedAfter(FinalNames::Taken(name_));
    }
    if (store_->options_.sync) file_->StartWriteOut(write_out_, written_ - write_out_);
    if (!open_) return absl::OkStatus();
    return ClosedAfter(file_->SetAttributes(open_->mode & 0777U, open_->mtime_ns));
  }

  absl::Status Sync() {
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(CheckReady());
    if (!store_->options_.sync) return absl::OkStatus();
    return ClosedAfter(store_->Noted(file_->Sync(What::kAll)));
  }

  absl::StatusOr<std::string> GiveName() {
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(CheckReady());
    absl::StatusOr<std::string> name = Place();
    if (!name.ok()) return ClosedAfter(store_->Noted(name.status()));
    file_.reset();
    closed_ = true;
    return name;
  }

  void End() {
    MutexLock lock(mutex_);
    if (!open_ || complete_) return;
    // Until it is gone it names a part that is not there, which counts for nothing.
    if (durable_ > 0 && !taken_over_) Ignore(disk_->Remove(StateName(key_)));
    store_->Release(*this, 0);
  }

  void Discard() {
    MutexLock lock(mutex_);
    CloseAndRemove();
  }

  /// Ends it; what it has is kept for a resume if there can be one.
  void Close() {
    MutexLock lock(mutex_);
    CloseAndKeep();
  }

 private:
  static PartialState StateOf(const OpenMessage& open) {
    PartialState state;
    state.name = open.name;
    state.size = open.size;
    state.identity = open.identity;
    return state;
  }

  /// For what is only tidying up: the next start does it again.
  static void Ignore(const absl::Status& status) { static_cast<void>(status); }

  /// How many bytes it leaves for a resume.
  std::uint64_t TakeOver() {
    MutexLock lock(mutex_);
    taken_over_ = true;
    CloseAndKeep();
    return durable_;
  }

  /// There is nothing to go on with. Any other error says nothing of what is there.
  static bool IsNoPrefix(const absl::Status& status) {
    return absl::IsNotFound(status) || absl::IsDataLoss(status);
  }

  absl::Status Check() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    RETURN_IF_ERROR(store_->failure());
    if (taken_over_) return TakenOver();
    return closed_ ? Closed() : absl::OkStatus();
  }
  absl::Status CheckReady() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    CHECK(!preparing_, "the file's prefix is still being read");
    return Check();
  }

  void Reset() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    plain_ = FileDigest(DigestKey());
    keyed_.reset();
    if (digest_key_) keyed_.emplace(digest_key_);
    preparing_ = false;
    written_ = durable_ = write_out_ = 0;
    on_disk_ = 0;
  }

  void UpdateDigests(std::span<const std::byte> bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    plain_.Update(bytes);
    if (keyed_) keyed_->Update(bytes);
  }

  std::string DigestValue() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return keyed_ ? keyed_->Value() : plain_.Value();
  }

  /// Registers itself, ends the one before, and opens its file; or, if it is to `look` for that,
  /// the complete one.
  absl::Status BeginPart(bool resume, bool look) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    RETURN_IF_ERROR(store_->failure());
    RETURN_IF_ERROR(store_->HoldFolder());
    std::uint64_t kept = 0;
    if (open_) {
      ASSIGN_OR_RETURN(const PartialStore::Previous previous, store_->Register(shared_from_this()));
      kept = previous.active ? previous.active->TakeOver() : previous.waiting_bytes;
    }
    closed_ = false;
    absl::Status failure = store_->failure();
    if (failure.ok() && resume) {
      const absl::Status opened = OpenPrefix();
      if (opened.ok()) return absl::OkStatus();
      if (!IsNoPrefix(opened)) failure = opened;
    }
    if (!failure.ok()) {  // what is there stays
      closed_ = true;
      if (open_) store_->Release(*this, kept);
      return failure;
    }
    // The one before may have given it its name since that was looked for.
    if (look) {
      if (auto complete = store_->names_.Find(name_, size_, open_->mtime_ns)) {
        store_->RemoveFiles(key_);
        store_->Release(*this, 0);
        TakeComplete(*std::move(complete));
        return absl::OkStatus();
      }
    }
    return ClosedAfter(StartAnew());
  }

  void TakeComplete(FinalNames::Found found) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    file_ = std::move(found.file);
    complete_ = std::move(found.name);
    durable_ = size_;
    preparing_ = true;
    closed_ = false;
  }

  /// What is there is not what is sent.
  absl::Status StartAgain() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!complete_) return ClosedAfter(StartAnew());
    complete_.reset();
    file_.reset();
    closed_ = true;
    RETURN_IF_ERROR(store_->names_.Check(name_));
    return BeginPart(/*resume=*/false, /*look=*/false);
  }

  absl::Status OpenPrefix() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ASSIGN_OR_RETURN(PartialState state, ReadState(disk_, key_));
    if (state.name != name_ || state.size != size_ || state.identity != open_->identity) {
      return Error(absl::StatusCode::kNotFound, "the partial file is another one's");
    }
    ASSIGN_OR_RETURN(file_, disk_->OpenFile(part_, fs::Disk::Open::kExisting));
    durable_ = state.durable_bytes;  // kept, should this end while it is read
    on_disk_ = durable_;
    durable_digest_ = std::move(state.digest);
    preparing_ = true;
    return absl::OkStatus();
  }

  /// Reads on in the durable prefix. True: that was all, and it is as the state says. (Of a file
  /// that is complete nothing is known; the client has to say.)
  absl::StatusOr<bool> ReadPrefix() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const std::uint64_t end = std::min(durable_, written_ + kPrepareBytes);
    std::vector<std::byte> buffer(std::min<std::uint64_t>(kReadBytes, end - written_));
    while (written_ < end) {
      const auto wanted =
          static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - written_));
      ASSIGN_OR_RETURN(const std::size_t read,
                       file_->ReadAt(written_, std::span(buffer).first(wanted)));
      UpdateDigests(std::span(buffer).first(read));
      written_ += read;
      if (read < wanted) return Error(absl::StatusCode::kDataLoss, "the partial file is short");
    }
    if (written_ < durable_) return false;
    if (!complete_) {
      if (plain_.Value() != durable_digest_) {
        return Error(absl::StatusCode::kDataLoss, "the partial file is damaged");
      }
      RETURN_IF_ERROR(file_->Truncate(written_));
      write_out_ = written_;
    } else if (!open_->resume) {
      // The client sends it all the same, and has it stored if that is the same: see StartSync().
      durable_digest_ = plain_.Value();
      Reset();
    }
    preparing_ = false;
    return true;
  }

  absl::Status StartAnew() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (open_) Ignore(disk_->Remove(StateName(key_)));  // before the content that it names
    Reset();
    ASSIGN_OR_RETURN(file_, disk_->OpenFile(part_, fs::Disk::Open::kEmpty));
    return absl::OkStatus();
  }

  absl::Status Write(std::span<const std::byte> bytes, TimePoint now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    UpdateDigests(bytes);
    RETURN_IF_ERROR(WriteAt(file_.get(), written_, bytes));
    written_ += bytes.size();
    on_disk_ = written_;
    if (store_->options_.sync && written_ - write_out_ >= kWriteOutBytes) {
      file_->StartWriteOut(write_out_, written_ - write_out_);
      write_out_ = written_;
    }
    if (!open_) return absl::OkStatus();
    if (!checkpoint_at_) checkpoint_at_ = now;
    if (now - *checkpoint_at_ < kCheckpointInterval) return absl::OkStatus();
    checkpoint_at_ = now;
    return Checkpoint();
  }

  /// On a full disk, files that wait for a resume make room, but not for mere announcements.
  absl::Status WriteAt(fs::DiskFile* file, std::uint64_t offset, std::span<const std::byte> bytes) {
    for (;;) {
      absl::Status status = file->WriteAt(offset, bytes);
      if (!absl::IsResourceExhausted(status) || !store_->MakeRoom()) return status;
    }
  }

  /// Makes all that was written durable, and then says so in the state beside it.
  absl::Status Checkpoint() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (written_ <= durable_) return absl::OkStatus();
    RETURN_IF_ERROR(store_->failure());
    return store_->Noted(WriteCheckpoint());
  }

  absl::Status WriteCheckpoint() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    // Another transfer may have made the folder again: a state would stand there beside no part.
    if (IsGone()) return Error(absl::StatusCode::kNotFound, "its part is gone");
    const bool sync = store_->options_.sync;
    if (sync) RETURN_IF_ERROR(file_->Sync(What::kContent));
    PartialState state = StateOf(*open_);
    state.durable_bytes = written_;
    state.digest = plain_.Value();
    const std::string bytes = state.Encode();
    const std::string name = NewStateName(key_);
    ASSIGN_OR_RETURN(const auto file, disk_->OpenFile(name, fs::Disk::Open::kEmpty));
    RETURN_IF_ERROR(WriteAt(file.get(), 0, std::as_bytes(std::span(bytes))));
    // Its time too: from there the time that it is kept is counted after a restart.
    if (sync) RETURN_IF_ERROR(file->Sync(What::kAll));
    RETURN_IF_ERROR(disk_->Rename(name, StateName(key_), fs::Disk::Target::kReplace));
    // The names of both, this one and that of the part.
    if (sync) RETURN_IF_ERROR(disk_->SyncFolder(std::string(kPartialFolder)));
    durable_ = written_;
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Place() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!complete_) return store_->names_.Place(part_, name_);
    // Whoever put it there may have been killed before its name was durable.
    RETURN_IF_ERROR(store_->names_.MakeFolder(fs::FolderOf(*complete_), 0777));
    return *complete_;
  }

  absl::Status ClosedAfter(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (absl::IsNotFound(status) && IsGone()) {
      CloseAndRemove();
      return Error(absl::StatusCode::kNotFound,
                   fmt::format("store \"{}\": what had come of it was removed from the server's "
                               "\"{}\" ({})",
                               EscapeBytes(name_), kPartialFolder, Message(status)));
    }
    if (!status.ok()) CloseAfter(status);
    return status;
  }

  /// Somebody has removed its part.
  bool IsGone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (complete_) return false;
    const absl::StatusOr<bool> exists = disk_->Exists(part_);
    return exists.ok() && !*exists;
  }

  /// What makes sense after an error: a name that cannot be had, or a disk that is full, needs no
  /// partial file; else it is kept as far as it is durable.
  void CloseAfter(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    switch (status.code()) {
      case absl::StatusCode::kAlreadyExists:
      case absl::StatusCode::kFailedPrecondition:
      case absl::StatusCode::kPermissionDenied:
      case absl::StatusCode::kResourceExhausted:
        CloseAndRemove();
        break;
      case absl::StatusCode::kDataLoss:
        // After a failed sync nothing since the last one is known to be there.
        written_ = durable_;
        CloseAndKeep();
        break;
      default:
        CloseAndKeep();
    }
  }

  void CloseAndKeep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (closed_) return;
    if (!open_ || complete_) {
      CloseAndRemove();
      return;
    }
    const absl::Status kept = file_ && !store_->abandoned_ ? Checkpoint() : absl::OkStatus();
    if (durable_ == 0 || absl::IsResourceExhausted(kept) || IsGone()) {
      CloseAndRemove();
      return;
    }
    file_.reset();
    closed_ = true;
    store_->Release(*this, durable_);
  }

  void CloseAndRemove() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (std::exchange(closed_, true)) return;
    file_.reset();
    if (complete_) {
      // It stays as it is.
    } else if (open_) {
      durable_ = 0;
      store_->RemoveFiles(key_);
      store_->Release(*this, 0);
    } else {
      Ignore(disk_->Remove(part_));
    }
  }

  PartialStore* const store_;
  fs::Disk* const disk_;
  const std::string name_;
  const std::uint64_t size_;
  const std::optional<OpenMessage> open_;  ///< of fast mode
  const std::string key_;                  ///< of fast mode
  const std::string part_;
  const DigestKey digest_key_;

  std::atomic<std::uint64_t> on_disk_ = 0;  ///< see bytes_on_disk()

  Mutex mutex_;
  bool taken_over_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = true;  ///< before Begin(), too
  std::unique_ptr<fs::DiskFile> file_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t written_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t durable_ ABSL_GUARDED_BY(mutex_) = 0;    ///< what the state on the disk names
  std::uint64_t write_out_ ABSL_GUARDED_BY(mutex_) = 0;  ///< write-out has begun up to here
  bool preparing_ ABSL_GUARDED_BY(mutex_) = false;       ///< durable_ bytes are being read
  std::string durable_digest_ ABSL_GUARDED_BY(mutex_);   ///< of them, without key
  std::optional<std::string> complete_ ABSL_GUARDED_BY(mutex_);  ///< the name of what file_ reads
  std::optional<TimePoint> checkpoint_at_ ABSL_GUARDED_BY(mutex_);
  FileDigest plain_ ABSL_GUARDED_BY(mutex_){DigestKey()};
  std::optional<FileDigest> keyed_ ABSL_GUARDED_BY(mutex_);
};

PartialStore::File::File(std::shared_ptr<Transfer> transfer) : transfer_(std::move(transfer)) {}
PartialStore::File::~File() { transfer_->Close(); }
absl::StatusOr<bool> PartialStore::File::Prepare() { return transfer_->Prepare(); }
std::uint64_t PartialStore::File::offset() const { return transfer_->offset(); }
std::string PartialStore::File::digest() const { return transfer_->digest(); }
absl::Status PartialStore::File::Restart() { return transfer_->Restart(); }
absl::Status PartialStore::File::Append(std::span<const std::byte> bytes, TimePoint now) {
  return transfer_->Append(bytes, now);
}
bool PartialStore::File::Matches(std::string_view digest) const {
  return transfer_->Matches(digest);
}
absl::StatusOr<std::string> PartialStore::File::Complete() {
  Transfer* const transfer = transfer_.get();
  return transfer->store()->Complete(std::span(&transfer, 1)).front();
}
void PartialStore::File::Discard() { transfer_->Discard(); }

absl::Status PartialStore::Options::Validate() const {
  if (keep_partial.count() < 0) return InvalidArgument("keep_partial: must not be negative");
  if (partials_max == 0) return InvalidArgument("partials_max: must not be 0");
  return absl::OkStatus();
}

PartialStore::PartialStore(fs::Disk* disk, const Options& options)
    : disk_(disk), options_(options), names_(disk, options.overwrite, options.sync) {}

PartialStore::~PartialStore() = default;

absl::StatusOr<std::unique_ptr<PartialStore>> PartialStore::Open(fs::Disk* disk,
                                                                 const Options& options,
                                                                 std::int64_t now_unix_s) {
  RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<PartialStore> store(new PartialStore(disk, options));
  RETURN_IF_ERROR(store->Recover(now_unix_s));
  store->Expire(now_unix_s);
  return store;
}

absl::Status PartialStore::HoldFolder() {
  MutexLock folder_lock(folder_mutex_);
  ASSIGN_OR_RETURN(const bool made, disk_->MakeFolder(std::string(kPartialFolder), 0700));
  if (made) {
    folder_durable_ = false;
    MutexLock lock(mutex_);
    // What waited in the one that was removed.
    std::erase_if(partials_, [](const auto& entry) { return entry.second.active == nullptr; });
  }
  if (options_.sync && !folder_durable_) RETURN_IF_ERROR(Noted(disk_->SyncFolder("")));
  folder_durable_ = true;
  return options_.lock();
}

absl::Status PartialStore::Recover(std::int64_t now_unix_s) {
  const std::string folder(kPartialFolder);
  RETURN_IF_ERROR(HoldFolder());
  ASSIGN_OR_RETURN(const std::vector<fs::Disk::Entry> entries, disk_->List(folder));
  MutexLock lock(mutex_);
  now_unix_s_ = now_unix_s;
  const auto remove = [&](const std::string& name) {
    if (disk_->Remove(Hidden(name)).ok()) ++removed_at_start_;
  };
  constexpr std::string_view kState = ".state";
  constexpr std::string_view kPart = ".part";
  for (const auto& entry : entries) {
    if (!entry.name.ends_with(kState)) continue;
    if (entry.folder || entry.other) {
      spdlog::warn("\"{}\" is no file of udp-server's: it is left alone", Hidden(entry.name));
      continue;
    }
    const std::string key = entry.name.substr(0, entry.name.size() - kState.size());
    const absl::StatusOr<PartialState> state = ReadState(disk_, key);
    // Not to be read, or of a newer version, is not damaged.
    if (!state.ok() && !absl::IsDataLoss(state.status())) {
      return Error(state.status().code(),
                   fmt::format("open \"{}\": {} (to begin that transfer anew, remove the file)",
                               Hidden(entry.name), Message(state.status())));
    }
    const std::string part_name = key + std::string(kPart);
    const auto part = std::lower_bound(
        entries.begin(), entries.end(), part_name,
        [](const fs::Disk::Entry& other, const std::string& name) { return other.name < name; });
    if (!state.ok() || part == entries.end() || part->name != part_name || part->folder ||
        part->other || state->Key() != key || part->bytes < state->durable_bytes) {
      remove(entry.name);
      continue;
    }
    partials_[key] = {nullptr, part->bytes, entry.modified_unix_s};
  }
  for (const auto& entry : entries) {
    const std::string_view name = entry.name;
    const bool orphan =
        name.ends_with(kPart) &&
        !partials_.contains(std::string(name.substr(0, name.size() - kPart.size())));
    const bool unfinished =
        name.ends_with(".state.new") || (name.starts_with("classic-") && name.ends_with(".tmp"));
    if (!entry.folder && !entry.other && (orphan || unfinished)) remove(entry.name);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PartialStore::File>> PartialStore::OpenFile(const OpenMessage& open,
                                                                           const DigestKey& key) {
  RETURN_IF_ERROR(CheckTransferName(open.name));
  if (open.size > options_.file_bytes_max) {
    return Error(absl::StatusCode::kOutOfRange,
                 fmt::format("store \"{}\": {} bytes are more than the server takes ({})",
                             EscapeBytes(open.name), open.size, options_.file_bytes_max));
  }
  const absl::Status free = names_.Check(open.name);
  const auto transfer = std::make_shared<Transfer>(this, open, key);
  std::unique_ptr<File> file(new File(transfer));
  if (absl::IsAlreadyExists(free) || (open.resume && (!free.ok() || !Keeps(transfer->key())))) {
    if (auto complete = names_.Find(open.name, open.size, open.mtime_ns)) {
      RETURN_IF_ERROR(transfer->BeginComplete(*std::move(complete)));
      return file;
    }
  }
  RETURN_IF_ERROR(free);
  RETURN_IF_ERROR(transfer->Begin());
  return file;
}

std::vector<absl::StatusOr<std::string>> PartialStore::Complete(
    std::span<const std::unique_ptr<File>> files) {
  std::vector<Transfer*> transfers;
  for (const std::unique_ptr<File>& file : files) transfers.push_back(file->transfer_.get());
  return Complete(transfers);
}

std::vector<absl::StatusOr<std::string>> PartialStore::Complete(
    std::span<Transfer* const> transfers) {
  std::vector<absl::StatusOr<std::string>> results(transfers.size());
  for (std::size_t i = 0; i < results.size(); ++i) {
    const absl::Status started = transfers[i]->StartSync();
    results[i] = started.ok() ? absl::StatusOr<std::string>("") : started;
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!results[i].ok()) continue;
    if (const absl::Status synced = transfers[i]->Sync(); !synced.ok()) results[i] = synced;
  }
  std::map<std::string, absl::Status> folders;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i].ok()) results[i] = transfers[i]->GiveName();
    if (results[i].ok()) folders[fs::FolderOf(*results[i])];
  }
  for (auto& [folder, status] : folders) status = Noted(names_.Sync(folder));
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!results[i].ok()) continue;
    transfers[i]->End();
    if (const absl::Status& named = folders.at(fs::FolderOf(*results[i])); !named.ok()) {
      results[i] = named;
    }
  }
  return results;
}

absl::StatusOr<std::unique_ptr<PartialStore::File>> PartialStore::OpenClassic(
    const std::string& name, std::uint64_t size) {
  RETURN_IF_ERROR(CheckClassicName(name));
  RETURN_IF_ERROR(names_.Check(name));
  std::string part;
  {
    MutexLock lock(mutex_);
    part = Hidden(fmt::format("classic-{}.tmp", next_classic_++));
  }
  const auto transfer = std::make_shared<Transfer>(this, name, size, std::move(part));
  RETURN_IF_ERROR(transfer->Begin());
  return std::unique_ptr<File>(new File(transfer));
}

absl::Status PartialStore::failure() const {
  MutexLock lock(failure_mutex_);
  return failure_;
}

absl::Status PartialStore::Noted(absl::Status status) {
  if (!absl::IsDataLoss(status)) return status;
  MutexLock lock(failure_mutex_);
  if (failure_.ok()) {
    spdlog::critical("{}: nothing more is stored, since what was written before may be lost",
                     Message(status));
    failure_ = status;
  }
  return status;
}

absl::Status PartialStore::MakeFolder(const OpenMessage& open) {
  RETURN_IF_ERROR(failure());
  RETURN_IF_ERROR(CheckTransferName(open.name));
  // Whatever it was at the client: files have to be put into it.
  return Noted(names_.MakeFolder(open.name, (open.mode & 0777U) | 0700U));
}

PartialStore::Usage PartialStore::usage() const {
  MutexLock lock(mutex_);
  Usage usage;
  for (const auto& [key, partial] : partials_) {
    ++(partial.active ? usage.receiving : usage.waiting);
    usage.bytes += partial.bytes;
  }
  return usage;
}

absl::StatusOr<PartialStore::Previous> PartialStore::Register(
    const std::shared_ptr<Transfer>& transfer) {
  const absl::StatusOr<std::uint64_t> free = disk_->FreeBytes();
  MutexLock lock(mutex_);
  const auto own = partials_.find(transfer->key());
  const std::uint64_t there = own == partials_.end() ? 0 : own->second.bytes;
  // What has been waiting longest goes for the limits, if that can be enough. (Unlinks under the
  // lock, and seldom.)
  std::uint64_t needed_bytes = transfer->size();
  std::size_t needed_files = 1;
  std::uint64_t waiting_bytes = 0;
  std::vector<Partials::iterator> waiting;
  for (auto it = partials_.begin(); it != partials_.end(); ++it) {
    if (it == own) continue;
    if (it->second.active) {
      needed_bytes += it->second.bytes;
      ++needed_files;
    } else {
      waiting_bytes += it->second.bytes;
      waiting.push_back(it);
    }
  }
  if (needed_bytes > options_.partial_bytes_max || needed_files > options_.partials_max) {
    return Error(absl::StatusCode::kResourceExhausted,
                 fmt::format("store a file of {} bytes: the server's limit for unfinished files is "
                             "reached ({} bytes, {} files)",
                             transfer->size(), options_.partial_bytes_max, options_.partials_max));
  }
  // What there is of it needs no more space, whether it is gone on with or begun anew; also when it
  // is to be taken over from one that seems alive and counts as whole.
  std::uint64_t on_disk = there;
  if (own != partials_.end() && own->second.active) on_disk = own->second.active->bytes_on_disk();
  const std::uint64_t to_come = transfer->size() - std::min(transfer->size(), on_disk);
  const std::uint64_t free_bytes = free.ok() ? *free : to_come;
  // What cannot come is refused; what can gets room when it does (MakeRoom()).
  if (to_come > free_bytes && to_come - free_bytes > waiting_bytes) {
    return Error(absl::StatusCode::kResourceExhausted,
                 fmt::format("store a file of {} bytes: no space left on the server's disk ({})",
                             transfer->size(), free_bytes));
  }
  std::sort(waiting.begin(), waiting.end(), [](const auto& one, const auto& other) {
    return one->second.OlderThan(other->second);
  });
  for (std::size_t i = 0; waiting_bytes > options_.partial_bytes_max - needed_bytes ||
                          waiting.size() - i > options_.partials_max - needed_files;
       ++i) {
    waiting_bytes -= waiting[i]->second.bytes;
    RemoveFiles(waiting[i]->first);
    partials_.erase(waiting[i]);
  }
  Partial& partial = partials_[transfer->key()];
  partial.bytes = transfer->size();
  return Previous{std::exchange(partial.active, transfer), there};
}

void PartialStore::Release(const Transfer& transfer, std::uint64_t bytes) {
  MutexLock lock(mutex_);
  const auto found = partials_.find(transfer.key());
  // Taken over: the name belongs to another one now.
  if (found == partials_.end() || found->second.active.get() != &transfer) return;
  if (bytes == 0) {
    partials_.erase(found);
  } else {
    found->second = {nullptr, bytes, now_unix_s_, /*counted=*/false};
  }
}

bool PartialStore::Keeps(const std::string& key) const {
  MutexLock lock(mutex_);
  return partials_.contains(key);
}

bool PartialStore::MakeRoom() {
  MutexLock lock(mutex_);
  auto oldest = partials_.end();
  for (auto it = partials_.begin(); it != partials_.end(); ++it) {
    if (it->second.active) continue;
    if (oldest == partials_.end() || it->second.OlderThan(oldest->second)) {
      oldest = it;
    }
  }
  if (oldest == partials_.end()) return false;
  spdlog::warn("the disk is full: \"{}\", which waits for a resume, is removed",
               PartName(oldest->first));
  RemoveFiles(oldest->first);
  partials_.erase(oldest);
  return true;
}

void PartialStore::RemoveFiles(const std::string& key) const {
  // The state first: a part without one is removed by the next start.
  for (const std::string& name : {StateName(key), NewStateName(key), PartName(key)}) {
    const absl::Status removed = disk_->Remove(name);
    static_cast<void>(removed);
  }
}

void PartialStore::Expire(std::int64_t now_unix_s) {
  MutexLock lock(mutex_);
  now_unix_s_ = now_unix_s;
  for (auto it = partials_.begin(); it != partials_.end();) {
    Partial& partial = it->second;
    if (!std::exchange(partial.counted, true)) partial.since_unix_s = now_unix_s;
    // Seconds that have ended: of the first one only a part may have. 0 seconds are over at once.
    const std::int64_t keep = options_.keep_partial.count();
    if (!partial.active && (keep == 0 || now_unix_s - partial.since_unix_s > keep)) {
      RemoveFiles(it->first);
      it = partials_.erase(it);
    } else {
      ++it;
    }
  }
}

Outcome OutcomeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return Outcome::kStored;
    case absl::StatusCode::kAborted:
      return Outcome::kReplaced;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kPermissionDenied:
      return Outcome::kRefused;
    default:
      return Outcome::kFailed;
  }
}

}  // namespace ds::udp_transfer
