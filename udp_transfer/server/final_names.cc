#include "udp_transfer/server/final_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/base/parse.h"
#include "udp_transfer/core/transfer_name.h"

namespace ds::udp_transfer {
namespace {

constexpr std::size_t kRememberedFoldersMax = 10'000;

/// What a file is called whose name is taken, and `i - 1` of these, too: "name.i". A name that has
/// no room for that is cut, between characters.
std::string Neighbour(const std::string& name, int i) {
  const std::string folder = fs::FolderOf(name);
  const std::size_t begin = folder.empty() ? 0 : folder.size() + 1;
  const std::string suffix = fmt::format(".{}", i);
  std::size_t end = std::min(name.size(), begin + kNameComponentBytesMax - suffix.size());
  const auto continues = [&] {  // a byte of UTF-8 that is not the first of its character
    return end < name.size() && (static_cast<unsigned char>(name[end]) & 0xC0U) == 0x80U;
  };
  for (int back = 0; back < 3 && continues(); ++back) --end;
  return name.substr(0, end) + suffix;
}

}  // namespace

absl::Status FinalNames::Taken(const std::string& name) {
  return Error(absl::StatusCode::kAlreadyExists,
               fmt::format("store \"{}\": the file exists (see udp-server's --overwrite)",
                           EscapeBytes(name)));
}

absl::Status FinalNames::Check(const std::string& name) const {
  // A folder that is not there yet, or cannot be looked at, is found out in Place(); not so a name
  // that leads elsewhere.
  const absl::StatusOr<bool> exists = disk_->Exists(name);
  if (absl::IsPermissionDenied(exists.status())) return exists.status();
  return overwrite_ == Overwrite::kNo && exists.ok() && *exists ? Taken(name) : absl::OkStatus();
}

absl::Status FinalNames::MakeFolder(const std::string& name, unsigned mode) {
  for (std::size_t end = 0; end < name.size();) {
    end = std::min(name.find('/', end + 1), name.size());
    const std::string folder = name.substr(0, end);
    ASSIGN_OR_RETURN(const bool made, disk_->MakeFolder(folder, end == name.size() ? mode : 0777));
    {
      MutexLock lock(mutex_);
      if (!made && durable_.contains(folder)) continue;
    }
    // Also where another session has just made it and has not synced it yet.
    if (sync_) RETURN_IF_ERROR(disk_->SyncFolder(fs::FolderOf(folder)));
    MutexLock lock(mutex_);
    if (durable_.size() >= kRememberedFoldersMax) durable_.clear();
    durable_.insert(folder);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> FinalNames::Place(const std::string& from, const std::string& name) {
  RETURN_IF_ERROR(MakeFolder(fs::FolderOf(name), 0777));
  std::string taken = name;
  absl::Status renamed = disk_->Rename(
      from, taken,
      overwrite_ == Overwrite::kYes ? fs::Disk::Target::kReplace : fs::Disk::Target::kKeep);
  if (overwrite_ == Overwrite::kRename) {
    for (int i = 1; absl::IsAlreadyExists(renamed) && i <= kRenamesMax; ++i) {
      taken = Neighbour(name, i);
      renamed = disk_->Rename(from, taken, fs::Disk::Target::kKeep);
    }
  }
  if (absl::IsAlreadyExists(renamed)) return Taken(name);
  RETURN_IF_ERROR(renamed);
  return taken;
}

absl::Status FinalNames::Sync(const std::string& folder) {
  return sync_ ? disk_->SyncFolder(folder) : absl::OkStatus();
}

std::optional<FinalNames::Found> FinalNames::Find(const std::string& name, std::uint64_t size,
                                                  std::int64_t mtime_ns) const {
  const int neighbours = overwrite_ == Overwrite::kRename ? kRenamesMax : 0;
  for (int i = 0; i <= neighbours; ++i) {
    std::string at = i == 0 ? name : Neighbour(name, i);
    absl::StatusOr<std::unique_ptr<fs::DiskFile>> file =
        disk_->OpenFile(at, fs::Disk::Open::kToRead);
    if (absl::IsNotFound(file.status())) return std::nullopt;
    if (!file.ok()) continue;  // not a file, or not to be read
    const absl::StatusOr<std::uint64_t> bytes = (*file)->Size();
    const absl::StatusOr<std::int64_t> time = (*file)->MtimeNs();
    if (bytes.ok() && time.ok() && *bytes == size && *time == mtime_ns) {
      return Found{std::move(*file), std::move(at)};
    }
  }
  return std::nullopt;
}

}  // namespace ds::udp_transfer
