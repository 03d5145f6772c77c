#include "udp_transfer/server/check_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "common/base/parse.h"
#include "common/fs/file_lock.h"
#include "common/fs/rooted_disk.h"
#include "udp_transfer/core/transfer_name.h"
#include "udp_transfer/seal/file_digest.h"
#include "udp_transfer/server/partial_state.h"

namespace ds::udp_transfer {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 20U;
constexpr std::string_view kState = ".state";
constexpr std::string_view kPart = ".part";

std::string Hidden(std::string_view name) { return fmt::format("{}/{}", kPartialFolder, name); }

absl::Status Damaged(std::string_view why) { return Error(absl::StatusCode::kDataLoss, why); }

absl::StatusOr<PartialState> ReadState(fs::Disk* disk, const std::string& key) {
  ASSIGN_OR_RETURN(const auto file,
                   disk->OpenFile(Hidden(key + std::string(kState)), fs::Disk::Open::kExisting));
  std::string bytes(PartialState::kBytesMax, '\0');
  ASSIGN_OR_RETURN(const std::size_t size,
                   file->ReadAt(0, std::as_writable_bytes(std::span(bytes))));
  bytes.resize(size);
  return PartialState::Parse(bytes);
}

/// Whether the durable prefix is what the state says.
absl::Status CheckPart(fs::Disk* disk, const std::string& key, const PartialState& state) {
  if (state.Key() != key) return Damaged("its state is another transfer's");
  ASSIGN_OR_RETURN(const auto file,
                   disk->OpenFile(Hidden(key + std::string(kPart)), fs::Disk::Open::kExisting));
  FileDigest digest{DigestKey()};
  std::vector<std::byte> buffer(kReadBytes);
  for (std::uint64_t at = 0; at < state.durable_bytes;) {
    const auto wanted = std::span(buffer).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, state.durable_bytes - at)));
    ASSIGN_OR_RETURN(const std::size_t read, file->ReadAt(at, wanted));
    digest.Update(wanted.first(read));
    at += read;
    if (read < wanted.size()) {
      return Damaged(fmt::format("only {} of {} durable bytes are there", at, state.durable_bytes));
    }
  }
  if (digest.Value() != state.digest) return Damaged("its durable bytes have another digest");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FolderReport> CheckFolder(const std::string& folder) {
  ASSIGN_OR_RETURN(const auto disk, fs::RootedDisk::Open(folder));
  ASSIGN_OR_RETURN(const bool used, disk->Exists(std::string(kPartialFolder)));
  FolderReport report;
  if (!used) return report;
  ASSIGN_OR_RETURN(const auto lock,
                   fs::FolderLock::AcquireToRead(disk->root(), std::string(kPartialFolder)));
  ASSIGN_OR_RETURN(const std::vector<fs::Disk::Entry> entries,
                   disk->List(std::string(kPartialFolder)));
  const auto is_there = [&](const std::string& name) {
    return std::any_of(entries.begin(), entries.end(),
                       [&](const fs::Disk::Entry& entry) { return entry.name == name; });
  };
  for (const fs::Disk::Entry& entry : entries) {
    const std::string_view name = entry.name;
    if (name == "LOCK" || entry.folder || entry.other) continue;
    if (!name.ends_with(kState)) {
      // A part belongs to the line of its state; the rest is of a run that did not end in order.
      const bool stated =
          name.ends_with(kPart) &&
          is_there(std::string(name.substr(0, name.size() - kPart.size())).append(kState));
      if (!stated) {
        report.lines.push_back(fmt::format("{} left over: {} bytes, the next start removes it",
                                           EscapeBytes(name), entry.bytes));
      }
      continue;
    }
    const std::string key(name.substr(0, name.size() - kState.size()));
    const absl::StatusOr<PartialState> state = ReadState(disk.get(), key);
    // Stored: until its state is removed, too, it counts for nothing.
    if (state.ok() && !is_there(key + std::string(kPart))) {
      report.lines.push_back(
          fmt::format("{} left over: its part is gone, the next start removes it", key));
      continue;
    }
    const absl::Status status = state.ok() ? CheckPart(disk.get(), key, *state) : state.status();
    if (status.ok()) {
      report.lines.push_back(fmt::format("{} ok: {} of {} bytes of \"{}\"", key,
                                         state->durable_bytes, state->size,
                                         EscapeBytes(state->name)));
    } else {
      ++report.damaged;
      report.lines.push_back(fmt::format("{} damaged: {}", EscapeBytes(key), Message(status)));
    }
  }
  return report;
}

}  // namespace ds::udp_transfer
