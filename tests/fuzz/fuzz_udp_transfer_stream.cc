#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "udp_transfer/core/file_receiver.h"
#include "udp_transfer/core/transfer_name.h"

using namespace ds::udp_transfer;  // NOLINT(google-build-using-namespace)

namespace {

/// What the receiver wants done with a stream that comes in pieces; content put together.
std::string EffectsOf(std::span<const std::byte> stream, std::size_t piece) {
  FileReceiver receiver;
  std::string effects;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  for (std::size_t at = 0; at < stream.size(); at += piece) {
    auto bytes = stream.subspan(at, std::min(piece, stream.size() - at));
    for (;;) {
      auto step = receiver.Next(bytes);
      CHECK(step.consumed <= bytes.size());
      bytes = bytes.subspan(step.consumed);
      if (const auto* folder = std::get_if<FileReceiver::MakeFolder>(&step.effect)) {
        CHECK(CheckTransferName(folder->open.name).ok());
        effects += "folder " + folder->open.name;
        receiver.Stored(folder->open.name);
      } else if (const auto* open = std::get_if<FileReceiver::OpenFile>(&step.effect)) {
        CHECK(CheckTransferName(open->open.name).ok());
        effects += "file " + open->open.name;
        size = open->open.size;
        offset = open->open.resume ? size / 2 : 0;
        receiver.Opened(offset, std::string(16, 'd'));
      } else if (std::holds_alternative<FileReceiver::Restart>(step.effect)) {
        effects += "restart";
        offset = 0;
        receiver.Succeeded();
      } else if (const auto* append = std::get_if<FileReceiver::Append>(&step.effect)) {
        offset += append->bytes.size();
        CHECK(!append->bytes.empty() && offset <= size);
        effects.append(reinterpret_cast<const char*>(append->bytes.data()), append->bytes.size());
        // A full disk, now and then.
        if (offset % 251 == 250) {
          effects += "failed";
          receiver.Failed(Outcome::kFailed, "no space");
        } else {
          receiver.Succeeded();
        }
      } else if (const auto* finish = std::get_if<FileReceiver::Finish>(&step.effect)) {
        CHECK(offset == size);
        effects += "finish " + finish->digest;
        receiver.Stored("name");
      } else if (const auto* discard = std::get_if<FileReceiver::Discard>(&step.effect)) {
        effects += "discard " + discard->why;
      } else if (const auto* broken = std::get_if<FileReceiver::Broken>(&step.effect)) {
        return effects + broken->why;
      } else if (receiver.replies().empty()) {
        CHECK(bytes.empty());
        break;
      }
      CHECK(receiver.replies().size() < 2 * kTextBytesMax + 64);
      effects += receiver.replies();
      receiver.replies().clear();
    }
  }
  return effects + (receiver.at_end() ? "." : "open");
}

}  // namespace

/// The first byte says how the rest is cut; what is done with it does not depend on it. (Whether a
/// failed disk is met does: appends are as large as the pieces. So not where that happened.)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = data[0] + 1U;
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  const std::string whole = EffectsOf(bytes, bytes.size() + 1);
  const std::string cut = EffectsOf(bytes, piece);
  if (whole.find("failed") == std::string::npos && cut.find("failed") == std::string::npos) {
    CHECK(whole == cut);
  }

  ReplyReader reader;
  for (auto rest = bytes;;) {
    const auto step = reader.Next(rest);
    rest = rest.subspan(step.consumed);
    if (std::holds_alternative<NeedBytes>(step.event)) break;
    if (std::holds_alternative<Malformed>(step.event)) break;
    CHECK(step.consumed > 0);
    // What was read is written in the same way.
    std::string again;
    if (const auto* start = std::get_if<StartMessage>(&step.event)) AppendTo(&again, *start);
    if (const auto* done = std::get_if<DoneMessage>(&step.event)) AppendTo(&again, *done);
    CHECK(again.size() == step.consumed);
  }
  return 0;
}
