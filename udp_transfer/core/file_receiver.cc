#include "udp_transfer/core/file_receiver.h"

#include <fmt/format.h>

#include <utility>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "udp_transfer/core/transfer_name.h"

namespace ds::udp_transfer {

FileReceiver::Step FileReceiver::Next(std::span<const std::byte> bytes) {
  CHECK(!effect_pending_, "the effect before was not answered");
  std::size_t consumed = 0;
  const std::size_t held = held_.size();
  // What belongs to a file that has its answer gives no effect.
  for (;;) {
    RequestReader::Step step = reader_.Next(bytes.subspan(consumed));
    consumed += step.consumed;
    const bool ended = std::holds_alternative<NeedBytes>(step.event);
    Effect effect = EffectOf(std::move(step.event));
    if (ended || !std::holds_alternative<NeedBytes>(effect) || held_.size() > held ||
        !replies_.empty()) {
      return {consumed, std::move(effect)};
    }
  }
}

FileReceiver::Effect FileReceiver::EffectOf(RequestReader::Event event) {
  if (auto* malformed = std::get_if<Malformed>(&event)) return Broken{std::string(malformed->why)};
  if (auto* open = std::get_if<OpenMessage>(&event)) {
    open_ = std::move(*open);
    answered_ = false;
    offset_ = 0;
    if (const absl::Status name = CheckTransferName(open_.name); !name.ok()) {
      Answer(Outcome::kRefused, Message(name));
      return NeedBytes{};
    }
    effect_pending_ = true;
    if (open_.kind == EntryKind::kFolder) return MakeFolder{open_};
    return OpenFile{open_};
  }
  if (answered_) return NeedBytes{};
  if (const auto* from = std::get_if<FromMessage>(&event)) {
    if (from->offset == offset_) return NeedBytes{};
    if (from->offset != 0) return Broken{"a file goes on where it was not said to end"};
    effect_pending_ = true;
    return Restart{};
  }
  if (const auto* block = std::get_if<BlockBytes>(&event)) {
    effect_pending_ = true;
    return Append{block->bytes};
  }
  if (auto* end = std::get_if<EndMessage>(&event)) {
    effect_pending_ = true;
    return Finish{std::move(end->digest)};
  }
  if (auto* abort = std::get_if<AbortMessage>(&event)) {
    Answer(Outcome::kAborted, abort->text);
    return Discard{std::move(abort->text)};
  }
  return NeedBytes{};
}

void FileReceiver::Opened(std::uint64_t offset, std::string digest) {
  Succeeded();
  CHECK(offset <= open_.size && (open_.resume || offset == 0));
  offset_ = offset;
  if (open_.resume) {
    AppendTo(&replies_, StartMessage{open_.number, offset, offset > 0 ? std::move(digest) : ""});
  }
}

void FileReceiver::Succeeded() { CHECK(std::exchange(effect_pending_, false)); }

void FileReceiver::Stored(std::string name) {
  Succeeded();
  Answer(Outcome::kStored, std::move(name));
}

void FileReceiver::Deferred() {
  Succeeded();
  CHECK(!std::exchange(answered_, true));
  held_.push_back({{open_.number, Outcome::kStored, ""}, false});
}

void FileReceiver::Settled(Outcome outcome, std::string text) {
  CHECK(!held_.empty(), "no file was deferred");
  held_.front() = {{held_.front().done.number, outcome, std::move(text)}, true};
  while (!held_.empty() && held_.front().settled) {
    AppendTo(&replies_, held_.front().done);
    held_.pop_front();
  }
}

void FileReceiver::Failed(Outcome outcome, std::string why) {
  Succeeded();
  CHECK(outcome != Outcome::kStored);
  Answer(outcome, std::move(why));
}

void FileReceiver::Answer(Outcome outcome, std::string text) {
  CHECK(!std::exchange(answered_, true));
  DoneMessage done{open_.number, outcome, std::move(text)};
  if (held_.empty()) {
    AppendTo(&replies_, done);
  } else {
    held_.push_back({std::move(done), true});
  }
}

}  // namespace ds::udp_transfer
