#include "udp_transfer/server/receive_session.h"

#include <fmt/format.h>

#include <utility>

#include "common/base/parse.h"

namespace ds::udp_transfer {

absl::StatusOr<std::size_t> ReceiveSession::Receive(std::span<const std::byte> bytes,
                                                    TimePoint now) {
  RETURN_IF_ERROR(disk_);
  if (opening_) {
    Prepare();
  } else {
    if (!replies().empty()) return 0;
    const FileReceiver::Step step = receiver_.Next(bytes);
    consumed_ = step.consumed;
    RETURN_IF_ERROR(Execute(step.effect, now));
  }
  RETURN_IF_ERROR(disk_);
  if (receiver_.held() >= kGroupMax) RETURN_IF_ERROR(Settle());
  return opening_ ? 0 : consumed_;
}

absl::Status ReceiveSession::Settle() {
  RETURN_IF_ERROR(disk_);
  for (const absl::StatusOr<std::string>& stored : store_->Complete(complete_)) {
    if (stored.ok()) {
      ++stats_.files_stored;
      receiver_.Settled(Outcome::kStored, *stored);
    } else {
      ++stats_.files_failed;
      if (absl::IsDataLoss(stored.status())) disk_ = stored.status();
      receiver_.Settled(OutcomeOf(stored.status()), Message(stored.status()));
    }
  }
  complete_.clear();
  complete_names_.clear();
  return disk_;
}

absl::Status ReceiveSession::Execute(const FileReceiver::Effect& effect, TimePoint now) {
  if (const auto* broken = std::get_if<FileReceiver::Broken>(&effect)) {
    file_.reset();
    return InvalidArgument(fmt::format("read the client's stream: {}", broken->why));
  }
  if (const auto* open = std::get_if<FileReceiver::OpenFile>(&effect)) {
    Open(open->open);
  } else if (const auto* append = std::get_if<FileReceiver::Append>(&effect)) {
    stats_.resumed_bytes += std::exchange(offered_, 0);
    if (const absl::Status written = file_->Append(append->bytes, now); written.ok()) {
      stats_.content_bytes += append->bytes.size();
      receiver_.Succeeded();
    } else {
      Fail(written);
    }
  } else if (std::holds_alternative<FileReceiver::Restart>(effect)) {
    offered_ = 0;
    if (const absl::Status restarted = file_->Restart(); restarted.ok()) {
      receiver_.Succeeded();
    } else {
      Fail(restarted);
    }
  } else if (const auto* finish = std::get_if<FileReceiver::Finish>(&effect)) {
    Finish(finish->digest);
  } else if (const auto* folder = std::get_if<FileReceiver::MakeFolder>(&effect)) {
    if (const absl::Status made = store_->MakeFolder(folder->open); made.ok()) {
      receiver_.Stored(folder->open.name);
    } else {
      Fail(made);
    }
  } else if (std::holds_alternative<FileReceiver::Discard>(effect)) {
    ++stats_.files_failed;
    if (file_) file_->Discard();
    file_.reset();
  }
  return disk_;
}

void ReceiveSession::Open(const OpenMessage& open) {
  // It replaces the other one, or is refused, or found to be it: when that is in its place.
  if (complete_names_.contains(open.name)) {
    if (const absl::Status settled = Settle(); !settled.ok()) return Fail(settled);
  }
  absl::StatusOr<std::unique_ptr<PartialStore::File>> file = store_->OpenFile(open, key_);
  if (absl::IsResourceExhausted(file.status()) && !complete_.empty()) {
    // Until they have their names, those that are complete count against the limits.
    if (const absl::Status settled = Settle(); !settled.ok()) return Fail(settled);
    file = store_->OpenFile(open, key_);
  }
  if (!file.ok()) {
    Fail(file.status());
    return;
  }
  file_ = std::move(*file);
  name_ = open.name;
  opening_ = true;
  Prepare();
}

void ReceiveSession::Prepare() {
  const absl::StatusOr<bool> ready = file_->Prepare();
  opening_ = ready.ok() && !*ready;
  if (!ready.ok()) return Fail(ready.status());
  if (opening_) return;
  offered_ = file_->offset();
  receiver_.Opened(file_->offset(), file_->digest());
}

void ReceiveSession::Finish(const std::string& digest) {
  stats_.resumed_bytes += std::exchange(offered_, 0);
  if (!file_->Matches(digest)) {
    // What is there is no prefix of the source either.
    file_->Discard();
    file_.reset();
    ++stats_.files_failed;
    receiver_.Failed(Outcome::kCorrupt, "what arrived has another digest");
    return;
  }
  complete_.push_back(std::move(file_));
  complete_names_.insert(std::move(name_));
  receiver_.Deferred();
}

void ReceiveSession::Fail(const absl::Status& status) {
  file_.reset();
  ++stats_.files_failed;
  if (absl::IsDataLoss(status)) disk_ = status;
  receiver_.Failed(OutcomeOf(status), Message(status));
}

}  // namespace ds::udp_transfer
