#include "udp_transfer/core/file_sender.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

constexpr std::uint32_t kZerosAtOnce = 16 * 1024;

}  // namespace

std::uint32_t FileSender::Begin(OpenMessage open) {
  CHECK(std::holds_alternative<Idle>(Next()));
  open.number = begun_++;
  AppendTo(&bytes_, open);
  size_ = open.size;
  offset_ = 0;
  resumed_ = 0;
  if (open.kind == EntryKind::kFolder) return open.number;  // O is all there is of it
  if (open.resume) {
    state_ = State::kWaitStart;
  } else {
    NextBlock();
  }
  return open.number;
}

FileSender::Action FileSender::Next() const {
  if (bytes_written_ < bytes_.size()) {
    return Bytes{std::string_view(bytes_).substr(bytes_written_)};
  }
  switch (state_) {
    case State::kIdle:
      if (begun_ - answered_ >= kUnansweredMax) return WaitForReply{};
      return Idle{};
    case State::kWaitStart:
      return WaitForReply{};
    case State::kComparing:
      return ComparePrefix{start_.offset, start_.digest};
    case State::kContent:
      return Content{offset_, block_rest_};
    case State::kCheckSource:
      return CheckSource{};
    case State::kGivingUp:
      break;
  }
  CHECK(false, "giving up always has bytes to write");
}

void FileSender::Written(std::size_t bytes) {
  if (bytes_written_ < bytes_.size()) {
    bytes_written_ += bytes;
    CHECK(bytes_written_ <= bytes_.size());
    if (bytes_written_ < bytes_.size()) return;
    bytes_.clear();
    bytes_written_ = 0;
    if (state_ == State::kGivingUp) NextZeros();
    return;
  }
  CHECK(state_ == State::kContent && bytes <= block_rest_);
  block_rest_ -= static_cast<std::uint32_t>(bytes);
  offset_ += bytes;
  if (block_rest_ == 0) NextBlock();
}

void FileSender::NextBlock() {
  if (offset_ == size_) {
    state_ = State::kCheckSource;
    return;
  }
  state_ = State::kContent;
  block_rest_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(size_ - offset_, kBlockBytes));
  AppendBlockHead(&bytes_, block_rest_);
}

void FileSender::PrefixCompared(bool same) {
  CHECK(state_ == State::kComparing);
  offset_ = same ? start_.offset : 0;
  resumed_ = offset_;
  AppendTo(&bytes_, FromMessage{offset_});
  NextBlock();
}

void FileSender::Finished(std::string digest) {
  CHECK(state_ == State::kCheckSource);
  AppendTo(&bytes_, EndMessage{std::move(digest)});
  state_ = State::kIdle;
}

void FileSender::SourceChanged(std::string why) {
  CHECK(state_ == State::kContent || state_ == State::kComparing || state_ == State::kCheckSource);
  GiveUp(std::move(why));
}

void FileSender::GiveUp(std::string why) {
  why_ = std::move(why);
  state_ = State::kGivingUp;
  if (bytes_.empty()) NextZeros();
}

void FileSender::NextZeros() {
  if (block_rest_ > 0) {
    const std::uint32_t zeros = std::min(block_rest_, kZerosAtOnce);
    bytes_.append(zeros, '\0');
    block_rest_ -= zeros;
    return;
  }
  AppendTo(&bytes_, AbortMessage{why_});
  state_ = State::kIdle;
}

absl::Status FileSender::HandleReplies(std::span<const std::byte> bytes) {
  for (;;) {
    const ReplyReader::Step step = replies_.Next(bytes);
    bytes = bytes.subspan(step.consumed);
    if (std::holds_alternative<NeedBytes>(step.event)) return absl::OkStatus();
    if (const auto* start = std::get_if<StartMessage>(&step.event)) {
      RETURN_IF_ERROR(Handle(*start));
    } else if (const auto* done = std::get_if<DoneMessage>(&step.event)) {
      RETURN_IF_ERROR(Handle(*done));
    } else {
      return InvalidArgument(
          fmt::format("read the server's answer: {}", std::get<Malformed>(step.event).why));
    }
  }
}

absl::Status FileSender::Handle(const StartMessage& start) {
  // Nothing was asked before O is written: a correct server cannot have read it.
  if (state_ != State::kWaitStart || !bytes_.empty() || start.number + 1 != begun_) {
    return InvalidArgument("read the server's answer: a start that was not asked for");
  }
  if (start.offset > size_) {
    return InvalidArgument("read the server's answer: it has more than the whole file");
  }
  start_ = start;
  if (start.offset > 0) {
    state_ = State::kComparing;
    return absl::OkStatus();
  }
  AppendTo(&bytes_, FromMessage{0});
  NextBlock();
  return absl::OkStatus();
}

absl::Status FileSender::Handle(const DoneMessage& done) {
  if (done.number != answered_ || done.number >= begun_) {
    return InvalidArgument("read the server's answer: a file is answered out of order");
  }
  const bool open = done.number + 1 == begun_ && state_ != State::kIdle;
  if (open && done.outcome == Outcome::kStored) {
    return InvalidArgument("read the server's answer: a file is stored before its end");
  }
  ++answered_;
  results_.push_back({done.number, done.outcome, done.text});
  // Already giving up: the X is on its way.
  if (open && state_ != State::kGivingUp) GiveUp("the server gave it up");
  return absl::OkStatus();
}

std::vector<FileSender::Result> FileSender::TakeResults() { return std::exchange(results_, {}); }

}  // namespace ds::udp_transfer
