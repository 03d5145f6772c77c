#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/base/time.h"
#include "common/fs/disk.h"
#include "udp_transfer/core/transfer_message.h"
#include "udp_transfer/seal/key_schedule.h"
#include "udp_transfer/server/final_names.h"

namespace ds::udp_transfer {

class Transfer;

/// Files on their way into a server's folder. Until they are complete they are in the hidden folder
/// kPartialFolder: those of fast mode as `<key>.part`, with `<key>.state` (PartialState) once
/// something of them is durable; those of classic mode as `classic-<n>.tmp`.
///
///   auto disk = fs::RootedDisk::Open(folder);
///   auto store = PartialStore::Open(disk, options, now_unix_s);
///   auto file = store->OpenFile(open, keys.digest);           // or OpenClassic(name, size)
///   while (!*file->Prepare()) …let others have their turn…    // of fast mode
///   file->Append(bytes, now) …;  file->Matches(digest);  file->Complete();
///   …now and then: store->Expire(now_unix_s)…
///
/// Every call may block on the disk; nothing is allocated for the bytes of a file. Thread-safe; the
/// disk must outlive the store, and the store its files.
///
/// Errors, of the store and of its files (OutcomeOf() says what they are to a client):
///   kAlreadyExists, kInvalidArgument, kFailedPrecondition, kPermissionDenied, kOutOfRange: this
///     file is not taken; kResourceExhausted: no space, or a limit; kAborted: another connection
///     has taken the transfer over; kDataLoss: a sync failed, the process should end (what was
///     acknowledged is safe, what is cached may not be). After it every call fails so, also when
///     the sync was that of a file which was closed or taken over: see failure().
class PartialStore {
 public:
  struct Options {
    Overwrite overwrite = Overwrite::kYes;
    bool sync = true;  ///< false: nothing survives power loss
    std::chrono::seconds keep_partial = std::chrono::hours(24);
    std::uint64_t file_bytes_max = UINT64_MAX;     ///< of one file
    std::uint64_t partial_bytes_max = UINT64_MAX;  ///< of all of fast mode; active ones as whole
    std::size_t partials_max = 10'000;             ///< files of fast mode
    /// Keeps the hidden folder, which is there, to this process; no name leads to it. Called by one
    /// thread at a time: before the folder is cleaned, and before each file, since somebody may
    /// have removed the folder, and the lock with it.
    std::function<absl::Status()> lock = [] { return absl::OkStatus(); };

    absl::Status Validate() const;
  };

  /// One file being received. Used by one thread at a time, the store's other users may take it
  /// over. When it goes, a file of fast mode keeps, durably, what it has for a resume; one of
  /// classic mode is removed.
  class File {
   public:
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    /// Reads a piece of what is there already; true: all of it, or there is nothing. To be called
    /// after OpenFile(), until it is true; before, only Discard() makes sense.
    absl::StatusOr<bool> Prepare();

    /// How many bytes are there already, and their digest (keyed as the connection's are).
    std::uint64_t offset() const;
    std::string digest() const;

    // After an error other than kOutOfRange the file is closed: further calls fail.

    /// Begins at 0 again.
    absl::Status Restart();
    /// kOutOfRange: more than the size.
    absl::Status Append(std::span<const std::byte> bytes, TimePoint now);
    /// Whether what was received has this digest.
    bool Matches(std::string_view digest) const;
    /// Of one file: see PartialStore::Complete().
    absl::StatusOr<std::string> Complete();
    /// Closes and removes it; not one that was complete before it was opened.
    void Discard();

   private:
    friend class PartialStore;
    explicit File(std::shared_ptr<Transfer> transfer);
    std::shared_ptr<Transfer> transfer_;
  };

  struct Usage {
    std::size_t receiving = 0;  ///< of fast mode
    std::size_t waiting = 0;    ///< partial files that nobody is sending
    std::uint64_t bytes = 0;    ///< of both; those being received count as whole
  };

  /// Makes the hidden folder, removes what can never be resumed, and what is too old. `now_unix_s`
  /// is compared with the times of files. kFailedPrecondition: a newer version wrote there.
  static absl::StatusOr<std::unique_ptr<PartialStore>> Open(fs::Disk* disk, const Options& options,
                                                            std::int64_t now_unix_s);
  ~PartialStore();

  /// With open.resume: goes on with what is there of the same transfer (name, size and identity),
  /// read again (File::Prepare()) and compared with its digest; without, begins anew. A file of the
  /// same transfer that is being received is taken over: what it has is kept, its owner's calls
  /// fail. A resume for which nothing is kept finds a file that is complete already, by its name
  /// (with kRename, and "name.1" …), size and time: that is read, and never changed; Restart()
  /// leaves it for a new one. Where it cannot be found out what is kept, that stays and the open
  /// fails. With kNo a file of that name, size and time is read without a resume too: what comes is
  /// compared with it, not written, and Complete() is kAlreadyExists if it is not the same.
  absl::StatusOr<std::unique_ptr<File>> OpenFile(const OpenMessage& open, const DigestKey& key);
  absl::StatusOr<std::unique_ptr<File>> OpenClassic(const std::string& name, std::uint64_t size);
  absl::Status MakeFolder(const OpenMessage& open);

  /// For each file: syncs all, sets mode and time (fast mode), and gives it its name, durably; what
  /// that is. kOutOfRange: there is less than the size. Together this is much faster than one after
  /// another: a file system makes all that was changed durable with the first sync. None of the
  /// files may be used by others.
  std::vector<absl::StatusOr<std::string>> Complete(std::span<const std::unique_ptr<File>> files);

  /// Removes partial files that nobody has been sending for keep_partial: not before that, and with
  /// the second call after it.
  void Expire(std::int64_t now_unix_s);

  /// From now on files that go are closed without a sync: they keep what is durable already.
  void Abandon() { abandoned_ = true; }

  Usage usage() const;
  /// The first sync that failed; it was logged.
  absl::Status failure() const;
  /// Files that Open() removed.
  std::size_t removed_at_start() const { return removed_at_start_; }

 private:
  friend class Transfer;
  struct Partial {
    std::shared_ptr<Transfer> active;
    std::uint64_t bytes = 0;  ///< the size while active, else what is on the disk
    std::int64_t since_unix_s = 0;
    bool counted = true;  ///< false: its time begins with the next Expire()

    /// Has been waiting longer.
    bool OlderThan(const Partial& other) const {
      return std::pair(since_unix_s, !counted) < std::pair(other.since_unix_s, !other.counted);
    }
  };
  using Partials = std::map<std::string, Partial>;

  PartialStore(fs::Disk* disk, const Options& options);

  absl::Status Recover(std::int64_t now_unix_s);
  /// Makes the hidden folder if it is not there (any more), durably, and keeps it locked.
  absl::Status HoldFolder();
  std::vector<absl::StatusOr<std::string>> Complete(std::span<Transfer* const> transfers);
  /// Something is kept of this transfer, or somebody sends it.
  bool Keeps(const std::string& key) const;
  /// Removes the file that has been waiting for a resume longest; false: there is none.
  bool MakeRoom();
  /// What was registered in a transfer's place.
  struct Previous {
    std::shared_ptr<Transfer> active;  ///< is to be taken over
    std::uint64_t waiting_bytes = 0;   ///< else: what waits for a resume
  };
  /// Makes room and registers the transfer.
  absl::StatusOr<Previous> Register(const std::shared_ptr<Transfer>& transfer);
  /// The transfer is closed; `bytes` of it are left for a resume.
  void Release(const Transfer& transfer, std::uint64_t bytes);
  void RemoveFiles(const std::string& key) const;
  /// Remembers the status when a sync has failed. REQUIRES: the operation can give kDataLoss for
  /// nothing else.
  absl::Status Noted(absl::Status status);

  fs::Disk* const disk_;
  const Options options_;
  FinalNames names_;
  std::size_t removed_at_start_ = 0;
  std::atomic<bool> abandoned_{false};

  Mutex folder_mutex_;
  bool folder_durable_ ABSL_GUARDED_BY(folder_mutex_) = false;

  mutable Mutex failure_mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(failure_mutex_);

  mutable Mutex mutex_;
  Partials partials_ ABSL_GUARDED_BY(mutex_);
  std::int64_t now_unix_s_ ABSL_GUARDED_BY(mutex_) = 0;  ///< when Expire() was last called
  std::uint64_t next_classic_ ABSL_GUARDED_BY(mutex_) = 0;
};

/// What a failure of the store is to the client.
Outcome OutcomeOf(const absl::Status& status);

}  // namespace ds::udp_transfer
