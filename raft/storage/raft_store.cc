#include "raft/storage/raft_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/parse.h"
#include "common/fs/append_log.h"
#include "common/fs/damage.h"
#include "raft/storage/record.h"

namespace ds::raft {
namespace {

using fs::AppendLog;

constexpr std::string_view kLogFolder = "log";
constexpr std::string_view kReceived = "received.part";
constexpr std::string_view kOwn = "own.part";
constexpr std::string_view kSnapshotPrefix = "snapshot-";
constexpr std::size_t kDigits = 20;

/// "snapshot-<index>-<term>".
std::string SnapshotName(LogPosition last) {
  return fmt::format("{}{:0{}}-{:0{}}", kSnapshotPrefix, last.index.value(), kDigits,
                     last.term.value(), kDigits);
}
std::optional<LogPosition> ParseSnapshotName(std::string_view name) {
  if (!name.starts_with(kSnapshotPrefix)) return std::nullopt;
  name.remove_prefix(kSnapshotPrefix.size());
  if (name.size() != 2 * kDigits + 1 || name[kDigits] != '-') return std::nullopt;
  const auto index = ParseDecimal(name.substr(0, kDigits));
  const auto term = ParseDecimal(name.substr(kDigits + 1));
  if (!index || !term) return std::nullopt;
  return LogPosition{Term(*term), LogIndex(*index)};
}

/// The terms of the log's positions, as runs of equal ones.
class TermRuns {
 public:
  /// The first position that is known, of an entry or of what comes before the first one.
  LogPosition first() const { return runs_.front(); }
  LogPosition last() const { return last_; }

  void Restart(LogPosition position) {
    runs_.assign(1, position);
    last_ = position;
  }
  /// In place of all from its index on. REQUIRES: position.index <= last().index + 1.
  void Append(LogPosition position) {
    while (!runs_.empty() && runs_.back().index >= position.index) runs_.pop_back();
    if (runs_.empty() || runs_.back().term != position.term) runs_.push_back(position);
    last_ = position;
  }
  bool Contains(LogPosition position) const {
    if (position.index > last_.index || position.index < first().index) return false;
    auto after =
        std::upper_bound(runs_.begin(), runs_.end(), position.index,
                         [](LogIndex index, const LogPosition& run) { return index < run.index; });
    return (--after)->term == position.term;
  }
  /// Runs that end before `index` are not asked for any more.
  void Forget(LogIndex index) {
    auto kept = runs_.begin();
    while (kept + 1 != runs_.end() && (kept + 1)->index <= index) ++kept;
    runs_.erase(runs_.begin(), kept);
  }

 private:
  std::vector<LogPosition> runs_ = {LogPosition{}};  // each from its index on; never empty
  LogPosition last_;
};

}  // namespace

class RaftStore::Impl {
 public:
  Impl(fs::Disk& disk, std::string folder) : disk_(disk), folder_(std::move(folder)) {}

  // Their errors are final; the store keeps them in `dead`.
  absl::Status Recover(const Options& options);
  absl::Status Write(std::span<const Output* const> outputs);
  absl::Status Adopt(const SnapshotWriter& writer);
  absl::Status Forget(LogIndex index);

  absl::StatusOr<std::unique_ptr<SnapshotWriter>> BeginSnapshot(const SnapshotMeta& meta) const {
    return SnapshotWriter::Create(disk_, Path(kOwn), meta);
  }
  std::shared_ptr<const SnapshotFile> snapshot() const {
    const MutexLock lock(mutex_);
    return snapshot_;
  }
  bool empty() const {
    return hard_state_ == HardState{} && terms_.last() == LogPosition{} && !snapshot();
  }

  std::uint64_t log_bytes() const { return log_->bytes(); }

  absl::Status dead;
  Recovery recovery;
  std::optional<Restored> restored;

 private:
  struct Segment {
    std::uint64_t first_number = 0;
    LogIndex last;  ///< the largest index it has ever had: it can go when that can go
  };

  std::string Path(std::string_view name) const {
    return folder_.empty() ? std::string(name) : fmt::format("{}/{}", folder_, name);
  }
  absl::Status Replay(const AppendLog::Record& record);
  absl::Status ChooseSnapshot();
  /// Looks at all before anything is done.
  absl::Status CheckEntries(std::span<const Output* const> outputs) const;
  absl::Status Receive(const Output::ReceivedPart& part);
  /// Its file is durable under its name.
  absl::StatusOr<std::shared_ptr<const SnapshotFile>> FinishReceived(const SnapshotMeta& install);
  /// Into the group. Gives the largest index of what it has there.
  LogIndex AppendRecords(const Output& output, LogIndex largest);
  /// Gives a finished file its name, durably. It counts when the log has its position.
  absl::StatusOr<std::shared_ptr<const SnapshotFile>> Name(const SnapshotWriter& writer);
  /// Makes it the one that ReadSnapshot() reads, in place of the one before.
  absl::Status Publish(std::shared_ptr<const SnapshotFile> snapshot);
  /// Before the first record of each group.
  void BeginGroup();
  void AppendRestart(LogPosition position);
  /// No entry is left of what is in the segments.
  void BeginAnew(LogPosition position);
  /// `last`: the largest index in the group.
  absl::Status SyncLog(LogIndex last);
  void Note(std::uint64_t segment, LogIndex last);
  absl::Status RemoveSegments();

  fs::Disk& disk_;
  const std::string folder_;
  std::unique_ptr<AppendLog> log_;
  HardState hard_state_;
  TermRuns terms_;
  std::vector<Segment> segments_;
  LogIndex forgotten_;
  std::unique_ptr<SnapshotWriter> receiving_;

  mutable Mutex mutex_;
  std::shared_ptr<const SnapshotFile> snapshot_ ABSL_GUARDED_BY(mutex_);
};

absl::Status RaftStore::Impl::Recover(const Options& options) {
  if (!folder_.empty()) {
    ASSIGN_OR_RETURN([[maybe_unused]] const bool made, disk_.MakeFolder(folder_, 0777));
    RETURN_IF_ERROR(disk_.SyncFolder(fs::FolderOf(folder_)));
  }
  restored.emplace();
  AppendLog::Options log_options;
  log_options.segment_bytes = options.segment_bytes;
  log_options.salt = options.salt;
  ASSIGN_OR_RETURN(
      log_, AppendLog::Open(disk_, Path(kLogFolder), log_options,
                            [this](const AppendLog::Record& record) { return Replay(record); }));
  recovery.torn_bytes = log_->recovery().torn_bytes;
  recovery.removed_files = log_->recovery().removed_files;
  restored->hard_state = hard_state_;
  return ChooseSnapshot();
}

absl::Status RaftStore::Impl::Replay(const AppendLog::Record& record) {
  const auto wrong = [&](std::string_view why) {
    return Error(absl::StatusCode::kDataLoss,
                 fmt::format("read record {} of \"{}\", in segment {}: {}", record.number,
                             Path(kLogFolder), record.segment, why));
  };
  auto decoded = DecodeRecord(record.type, record.payload);
  if (!decoded.ok()) return wrong(ds::Message(decoded.status()));
  std::vector<EntryPtr>& entries = restored->entries;
  LogIndex last;
  if (const auto* start = std::get_if<SegmentStart>(&*decoded)) {
    if (segments_.empty()) {
      hard_state_ = start->hard_state;
      terms_.Restart(start->last);
    } else if (start->hard_state != hard_state_ || start->last != terms_.last()) {
      return wrong("the segments before say something else");
    }
  } else if (segments_.empty()) {
    return wrong("a segment begins otherwise");
  } else if (const auto* hard_state = std::get_if<HardState>(&*decoded)) {
    hard_state_ = *hard_state;
  } else if (const auto* restart = std::get_if<Restart>(&*decoded)) {
    last = restart->position.index;
    BeginAnew(restart->position);
    entries.clear();
  } else {
    Entry& entry = std::get<Entry>(*decoded);
    last = entry.position.index;
    if (last > terms_.last().index + 1) {
      return wrong(fmt::format("entry {} after entry {}", last, terms_.last().index));
    }
    while (!entries.empty() && entries.back()->position.index >= last) entries.pop_back();
    terms_.Append(entry.position);
    entries.push_back(std::make_shared<const Entry>(std::move(entry)));
  }
  Note(record.segment, last);
  return absl::OkStatus();
}

absl::Status RaftStore::Impl::ChooseSnapshot() {
  ASSIGN_OR_RETURN(const std::vector<fs::Disk::Entry> files, disk_.List(folder_));
  std::vector<std::string> unused;
  std::shared_ptr<const SnapshotFile> chosen;
  // Sorted by name, so the newest comes last. One whose position the log does not have was to be
  // installed, and its install did not become durable.
  for (auto file = files.rbegin(); file != files.rend(); ++file) {
    const auto position = ParseSnapshotName(file->name);
    if (!file->folder && position && !chosen && terms_.Contains(*position)) {
      ASSIGN_OR_RETURN(SnapshotFile snapshot, SnapshotFile::Open(disk_, Path(file->name)));
      if (snapshot.meta().last != *position) {
        return fs::DataLoss("snapshot", snapshot.name(), 24,
                            fmt::format("it is of entry {} of term {}", snapshot.meta().last.index,
                                        snapshot.meta().last.term));
      }
      chosen = std::make_shared<const SnapshotFile>(std::move(snapshot));
    } else if (!file->folder && (position || file->name == kReceived || file->name == kOwn)) {
      unused.push_back(Path(file->name));
    }
  }
  if (!chosen && terms_.first().index != LogIndex(0)) {
    return Error(absl::StatusCode::kDataLoss,
                 fmt::format("open store \"{}\": the log begins after entry {}, and there is no "
                             "snapshot of it or of a later one",
                             folder_, terms_.first().index));
  }
  for (const std::string& name : unused) {
    RETURN_IF_ERROR(disk_.Remove(name));
    ++recovery.removed_files;
  }
  // Who gave the snapshot its name may have been killed before it synced the folder.
  RETURN_IF_ERROR(disk_.SyncFolder(folder_));
  if (!chosen) return absl::OkStatus();
  restored->snapshot = chosen->meta();
  restored->base = terms_.first();
  // An entry, where it has replaced one: of what came before that nothing is left.
  std::vector<EntryPtr>& entries = restored->entries;
  if (!entries.empty() && entries.front()->position == terms_.first()) {
    entries.erase(entries.begin());
  }
  const MutexLock lock(mutex_);
  snapshot_ = std::move(chosen);
  return absl::OkStatus();
}

absl::Status RaftStore::Impl::CheckEntries(std::span<const Output* const> outputs) const {
  LogPosition last = terms_.last();
  for (const Output* output : outputs) {
    if (output->install) last = output->install->last;
    for (const EntryPtr& entry : output->entries) {
      const LogIndex index = entry->position.index;
      const bool first = &entry == &output->entries.front();
      CHECK(index > LogIndex(0) && (first ? index <= last.index + 1 : index == last.index + 1),
            "entries leave no gap");
      if (entry->data.size() > AppendLog::kPayloadBytesMax - kEntryHeadBytes) {
        return InvalidArgument(
            fmt::format("write entry {}: its {} bytes are too many", index, entry->data.size()));
      }
      last = entry->position;
    }
  }
  return absl::OkStatus();
}

absl::Status RaftStore::Impl::Write(std::span<const Output* const> outputs) {
  RETURN_IF_ERROR(CheckEntries(outputs));
  // Snapshots first: the records that make them count may only be there when they are.
  std::vector<std::shared_ptr<const SnapshotFile>> installed;
  bool records = false;
  for (const Output* output : outputs) {
    if (output->snapshot_part) RETURN_IF_ERROR(Receive(*output->snapshot_part));
    if (output->install) {
      ASSIGN_OR_RETURN(auto file, FinishReceived(*output->install));
      installed.push_back(std::move(file));
    }
    records = records || output->hard_state || output->install || !output->entries.empty();
  }
  if (!records) return absl::OkStatus();

  BeginGroup();
  LogIndex largest;
  for (const Output* output : outputs) largest = AppendRecords(*output, largest);
  RETURN_IF_ERROR(SyncLog(largest));
  for (auto& file : installed) RETURN_IF_ERROR(Publish(std::move(file)));
  return installed.empty() ? absl::OkStatus() : RemoveSegments();
}

LogIndex RaftStore::Impl::AppendRecords(const Output& output, LogIndex largest) {
  if (output.hard_state) {
    hard_state_ = *output.hard_state;
    log_->Append(static_cast<std::uint8_t>(RecordType::kHardState),
                 {AsView(EncodeHardState(hard_state_))});
  }
  if (output.install) {
    // Nothing in the group before it is an entry any more.
    AppendRestart(output.install->last);
    largest = output.install->last.index;
  }
  for (const EntryPtr& entry : output.entries) {
    log_->Append(static_cast<std::uint8_t>(RecordType::kEntry),
                 {AsView(EncodeEntryHead(*entry)), entry->data});
    terms_.Append(entry->position);
    largest = std::max(largest, entry->position.index);
  }
  return largest;
}

absl::Status RaftStore::Impl::Receive(const Output::ReceivedPart& part) {
  if (part.offset == 0) {
    ASSIGN_OR_RETURN(receiving_, SnapshotWriter::Create(disk_, Path(kReceived), part.meta));
  } else if (!receiving_ || receiving_->meta() != part.meta ||
             receiving_->written() != part.offset) {
    return InvalidArgument(
        fmt::format("receive snapshot of entry {}: the part at {} is not the one that comes next",
                    part.meta.last.index, part.offset));
  }
  if (part.data.size() > part.meta.bytes - receiving_->written()) {
    return InvalidArgument(fmt::format("receive snapshot of entry {}: {} bytes after {} of {}",
                                       part.meta.last.index, part.data.size(),
                                       receiving_->written(), part.meta.bytes));
  }
  return receiving_->Append(part.data);
}

absl::StatusOr<std::shared_ptr<const SnapshotFile>> RaftStore::Impl::FinishReceived(
    const SnapshotMeta& install) {
  if (!receiving_ || receiving_->meta() != install || receiving_->written() != install.bytes) {
    return InvalidArgument("install snapshot: it is not the one that was received");
  }
  RETURN_IF_ERROR(receiving_->Finish());
  ASSIGN_OR_RETURN(auto file, Name(*receiving_));
  receiving_.reset();
  return file;
}

absl::StatusOr<std::shared_ptr<const SnapshotFile>> RaftStore::Impl::Name(
    const SnapshotWriter& writer) {
  const std::string name = Path(SnapshotName(writer.meta().last));
  RETURN_IF_ERROR(disk_.Rename(writer.name(), name, fs::Disk::Target::kReplace));
  RETURN_IF_ERROR(disk_.SyncFolder(folder_));
  ASSIGN_OR_RETURN(SnapshotFile file, SnapshotFile::Open(disk_, name));
  return std::make_shared<const SnapshotFile>(std::move(file));
}

absl::Status RaftStore::Impl::Publish(std::shared_ptr<const SnapshotFile> snapshot) {
  const std::string name = snapshot->name();
  {
    const MutexLock lock(mutex_);
    snapshot_.swap(snapshot);
  }
  // If its name comes back after a loss of power, the next Open() removes it.
  if (snapshot && snapshot->name() != name) return disk_.Remove(snapshot->name());
  return absl::OkStatus();
}

absl::Status RaftStore::Impl::Adopt(const SnapshotWriter& writer) {
  const LogPosition position = writer.meta().last;
  const auto newest = snapshot();
  if (newest && position.index <= newest->meta().last.index) return disk_.Remove(writer.name());
  ASSIGN_OR_RETURN(auto named, Name(writer));
  const bool begins_anew = !terms_.Contains(position);
  if (begins_anew) {
    BeginGroup();
    AppendRestart(position);
    RETURN_IF_ERROR(SyncLog(position.index));
  }
  RETURN_IF_ERROR(Publish(std::move(named)));
  return begins_anew ? RemoveSegments() : absl::OkStatus();
}

absl::Status RaftStore::Impl::Forget(LogIndex index) {
  const auto newest = snapshot();
  CHECK(newest && index <= newest->meta().last.index);
  forgotten_ = std::max(forgotten_, index);
  terms_.Forget(forgotten_);
  return RemoveSegments();
}

void RaftStore::Impl::BeginGroup() {
  if (!log_->StartsSegment()) return;
  log_->Append(static_cast<std::uint8_t>(RecordType::kSegmentStart),
               {AsView(EncodeHardState(hard_state_)), AsView(EncodePosition(terms_.last()))});
}

void RaftStore::Impl::AppendRestart(LogPosition position) {
  log_->Append(static_cast<std::uint8_t>(RecordType::kRestart), {AsView(EncodePosition(position))});
  BeginAnew(position);
}

void RaftStore::Impl::BeginAnew(LogPosition position) {
  terms_.Restart(position);
  for (Segment& segment : segments_) segment.last = LogIndex(0);
}

absl::Status RaftStore::Impl::SyncLog(LogIndex last) {
  RETURN_IF_ERROR(log_->Sync());
  Note(log_->last_segment(), last);
  return absl::OkStatus();
}

void RaftStore::Impl::Note(std::uint64_t segment, LogIndex last) {
  if (segments_.empty() || segments_.back().first_number != segment) {
    segments_.push_back({segment, last});
  }
  segments_.back().last = std::max(segments_.back().last, last);
}

absl::Status RaftStore::Impl::RemoveSegments() {
  auto kept = segments_.begin();
  while (kept != segments_.end() && kept + 1 != segments_.end() && kept->last <= forgotten_) {
    ++kept;
  }
  if (kept == segments_.begin()) return absl::OkStatus();
  segments_.erase(segments_.begin(), kept);
  return log_->RemoveBefore(segments_.front().first_number);
}

absl::StatusOr<std::unique_ptr<RaftStore>> RaftStore::Open(fs::Disk& disk, std::string folder,
                                                           const Options& options) {
  auto impl = std::make_unique<Impl>(disk, std::move(folder));
  RETURN_IF_ERROR(impl->Recover(options));
  return std::unique_ptr<RaftStore>(new RaftStore(std::move(impl)));
}

RaftStore::RaftStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RaftStore::~RaftStore() = default;

bool RaftStore::empty() const { return impl_->empty(); }

const RaftStore::Recovery& RaftStore::recovery() const { return impl_->recovery; }

Restored RaftStore::TakeRestored() {
  CHECK(impl_->restored.has_value());
  Restored restored = std::move(*impl_->restored);
  impl_->restored.reset();
  return restored;
}

absl::Status RaftStore::Write(std::span<const Output* const> outputs) {
  if (impl_->dead.ok()) impl_->dead = impl_->Write(outputs);
  return impl_->dead;
}

absl::Status RaftStore::Write(const Output& output) {
  const Output* const one = &output;
  return Write(std::span(&one, 1));
}

absl::Status RaftStore::SaveSnapshot(const SnapshotMeta& meta, std::string_view bytes) {
  CHECK(meta.bytes == bytes.size());
  RETURN_IF_ERROR(impl_->dead);
  auto writer = BeginSnapshot(meta);
  impl_->dead = writer.status();
  if (impl_->dead.ok()) impl_->dead = (*writer)->Append(bytes);
  if (impl_->dead.ok()) impl_->dead = (*writer)->Finish();
  if (impl_->dead.ok()) impl_->dead = impl_->Adopt(**writer);
  return impl_->dead;
}

absl::StatusOr<std::unique_ptr<SnapshotWriter>> RaftStore::BeginSnapshot(const SnapshotMeta& meta) {
  return impl_->BeginSnapshot(meta);
}

absl::Status RaftStore::Adopt(std::unique_ptr<SnapshotWriter> writer) {
  CHECK(writer->finished());
  if (impl_->dead.ok()) impl_->dead = impl_->Adopt(*writer);
  return impl_->dead;
}

absl::Status RaftStore::Forget(LogIndex index) {
  if (impl_->dead.ok()) impl_->dead = impl_->Forget(index);
  return impl_->dead;
}

std::uint64_t RaftStore::log_bytes() const { return impl_->log_bytes(); }

std::optional<SnapshotMeta> RaftStore::snapshot() const {
  const auto newest = impl_->snapshot();
  if (!newest) return std::nullopt;
  return newest->meta();
}

absl::StatusOr<std::string> RaftStore::ReadSnapshot(LogPosition last, std::uint64_t offset,
                                                    std::uint64_t length) const {
  const auto newest = impl_->snapshot();
  if (!newest || newest->meta().last != last) {
    return Error(absl::StatusCode::kNotFound,
                 fmt::format("read snapshot of entry {}: it is not the newest", last.index));
  }
  return newest->ReadAt(offset, length);
}

}  // namespace ds::raft
