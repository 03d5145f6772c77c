#include "tests/sim/sim_disk.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "common/base/check.h"

namespace ds::sim {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kSectorBytes = 512;

absl::Status NoPower() { return Unavailable("the power is off"); }

absl::Status Full() {
  return Error(absl::StatusCode::kResourceExhausted, "No space left on device");
}

absl::Status SyncLost(const std::string& name) {
  return Error(absl::StatusCode::kDataLoss, "cannot sync \"" + name + "\": Input/output error");
}

absl::Status NotFound(const std::string& name) {
  return Error(absl::StatusCode::kNotFound, "\"" + name + "\": No such file or directory");
}

}  // namespace

struct SimDisk::Inode {
  struct State {
    std::string content;
    unsigned mode = 0666;
    std::int64_t mtime_ns = 0;
  };
  bool folder = false;
  std::uint64_t dirty_bytes = 0;
  State now;
  State durable;
  /// Pages that a failed sync should have written: they count as written, and are not durable.
  std::set<std::size_t> given_up;

  /// True: the content is neither what was synced nor what was written.
  bool Lose(Survival survival, Rng& rng) {
    bool torn = false;
    if (survival == Survival::kRandom || survival == Survival::kTorn) {
      // Each page that differs is the old one or the new one; so is the size. What was never
      // written out reads as zeros.
      State mixed = rng.Bernoulli(0.5) ? now : durable;
      if (survival == Survival::kTorn && now.content.size() > durable.content.size()) {
        mixed.content.resize(durable.content.size() +
                             rng.Below(now.content.size() - durable.content.size() + 1));
      }
      const std::size_t unit = survival == Survival::kTorn ? kSectorBytes : kPageBytes;
      for (std::size_t at = 0; at < mixed.content.size(); at += unit) {
        const std::string& from = rng.Bernoulli(0.5) ? now.content : durable.content;
        std::string page = at < from.size() ? from.substr(at, unit) : std::string();
        page.resize(std::min(unit, mixed.content.size() - at), '\0');
        mixed.content.replace(at, page.size(), page);
      }
      torn = mixed.content != now.content && mixed.content != durable.content;
      durable = std::move(mixed);
    }
    now = durable;
    given_up.clear();
    dirty_bytes = 0;
    return torn;
  }

  void Written(std::uint64_t offset, std::uint64_t bytes) {
    if (given_up.empty() || bytes == 0) return;
    given_up.erase(given_up.lower_bound(offset / kPageBytes),
                   given_up.upper_bound((offset + bytes - 1) / kPageBytes));
  }

  void SyncContent() {
    std::string content = now.content;
    for (const std::size_t page : given_up) {
      const std::size_t at = page * kPageBytes;
      if (at >= content.size()) break;
      const std::size_t size = std::min(kPageBytes, content.size() - at);
      std::string old = at < durable.content.size() ? durable.content.substr(at, size) : "";
      old.resize(size, '\0');
      content.replace(at, size, old);
    }
    durable.content = std::move(content);
    dirty_bytes = 0;
  }

  void SyncFailed() {
    for (std::size_t at = 0; at < now.content.size(); at += kPageBytes) {
      const std::string_view page = std::string_view(now.content).substr(at, kPageBytes);
      const bool same = at < durable.content.size() &&
                        std::string_view(durable.content).substr(at, kPageBytes) == page;
      if (!same) given_up.insert(at / kPageBytes);
    }
    dirty_bytes = 0;
  }
};

class SimDisk::File final : public fs::DiskFile {
 public:
  File(SimDisk* disk, std::string name, Link inode)
      : disk_(disk), boot_(disk->boots_), name_(std::move(name)), inode_(std::move(inode)) {}

  absl::Status WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) override {
    RETURN_IF_ERROR(Begin("write"));
    std::string& content = inode_->now.content;
    const bool full = !disk_->Fits(offset + bytes.size(), content.size());
    if (full) {
      const std::uint64_t size_max = content.size() + disk_->Left();
      bytes = bytes.first(offset < size_max ? size_max - offset : 0);
      if (bytes.empty()) return Full();
    }
    content.resize(std::max<std::size_t>(content.size(), offset + bytes.size()), '\0');
    std::copy_n(reinterpret_cast<const char*>(bytes.data()), bytes.size(),
                content.begin() + static_cast<std::ptrdiff_t>(offset));
    inode_->now.mtime_ns = disk_->now_unix_s * 1'000'000'000;
    inode_->dirty_bytes += bytes.size();
    inode_->Written(offset, bytes.size());
    return full ? Full() : absl::OkStatus();
  }
  absl::StatusOr<std::size_t> ReadAt(std::uint64_t offset, std::span<std::byte> out) override {
    RETURN_IF_ERROR(disk_->Look("read", name_));
    const std::string& content = inode_->now.content;
    if (offset >= content.size()) return 0;
    const std::size_t size = std::min<std::size_t>(out.size(), content.size() - offset);
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(offset), size,
                reinterpret_cast<char*>(out.data()));
    return size;
  }
  absl::Status Truncate(std::uint64_t size) override {
    RETURN_IF_ERROR(Begin("truncate"));
    const std::size_t size_before = inode_->now.content.size();
    inode_->now.content.resize(size, '\0');
    const auto [low, high] = std::minmax<std::uint64_t>({size, size_before});
    inode_->Written(low, high - low);
    return absl::OkStatus();
  }
  absl::StatusOr<std::uint64_t> Size() override {
    RETURN_IF_ERROR(disk_->Look("read", name_));
    return inode_->now.content.size();
  }
  absl::StatusOr<std::int64_t> MtimeNs() override {
    RETURN_IF_ERROR(disk_->Look("read", name_));
    return inode_->now.mtime_ns;
  }
  absl::Status SetAttributes(unsigned mode, std::int64_t mtime_ns) override {
    RETURN_IF_ERROR(Begin("attributes"));
    inode_->now.mode = mode;
    inode_->now.mtime_ns = mtime_ns;
    return absl::OkStatus();
  }
  void StartWriteOut(std::uint64_t, std::uint64_t length) override {
    inode_->dirty_bytes -= std::min(inode_->dirty_bytes, length);
  }
  absl::Status Sync(What what) override {
    RETURN_IF_ERROR(Begin("sync"));
    const char* kind = what == What::kAll ? "file all " : "file content ";
    if (disk_->forgotten_sync && disk_->forgotten_sync(kind + name_)) return absl::OkStatus();
    if (disk_->SyncFails()) {
      inode_->SyncFailed();
      return SyncLost(name_);
    }
    inode_->SyncContent();
    if (what == What::kAll) {
      inode_->durable.mode = inode_->now.mode;
      inode_->durable.mtime_ns = inode_->now.mtime_ns;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Begin(const std::string& operation) {
    if (boot_ != disk_->boots_) return NoPower();
    return disk_->Begin(operation, name_);
  }

  SimDisk* disk_;
  std::uint64_t boot_;
  std::string name_;
  Link inode_;
};

SimDisk::SimDisk() {
  const Link root = std::make_shared<Inode>();
  root->folder = true;
  tree_[""] = durable_[""] = root;
}

SimDisk::~SimDisk() = default;

absl::Status SimDisk::Look(const std::string& operation, const std::string& name) const {
  if (power_left_ == 0) return NoPower();
  return fault ? fault(operation, name) : absl::OkStatus();
}

absl::Status SimDisk::Begin(const std::string& operation, const std::string& name) {
  if (power_left_ == 0) return NoPower();
  ++operations_;
  if (power_left_ && --*power_left_ == 0) return NoPower();
  return fault ? fault(operation, name) : absl::OkStatus();
}

absl::Status SimDisk::NeedFolder(const std::string& name) const {
  const auto found = tree_.find(name);
  if (found == tree_.end() || !found->second->folder) return NotFound(name);
  return absl::OkStatus();
}

bool SimDisk::SyncFails() {
  if (syncs_left_ == 0 || --syncs_left_ > 0) return false;
  ++failed_syncs_;
  return true;
}

std::uint64_t SimDisk::Left() const {
  std::uint64_t used = 0;
  for (const auto& entry : tree_) used += entry.second->now.content.size();
  return *capacity_bytes - std::min(*capacity_bytes, used);
}

bool SimDisk::Fits(std::uint64_t size, std::uint64_t size_now) const {
  return !capacity_bytes || size <= size_now || size - size_now <= Left();
}

absl::StatusOr<std::uint64_t> SimDisk::FreeBytes() { return capacity_bytes ? Left() : free_bytes; }

void SimDisk::Make(Change change) {
  for (const auto& [name, link] : change) {
    if (link) {
      tree_[name] = link;
    } else {
      tree_.erase(name);
    }
  }
  pending_.push_back(std::move(change));
}

void SimDisk::Settle(const std::function<bool(const Change&)>& wanted) {
  std::set<std::string> needed;
  std::vector<Change> settled;
  std::vector<Change> left;
  for (auto change = pending_.rbegin(); change != pending_.rend(); ++change) {
    const bool builds_upon = std::any_of(change->begin(), change->end(), [&](const auto& entry) {
      return needed.contains(entry.first);
    });
    if (builds_upon || wanted(*change)) {
      for (const auto& entry : *change) needed.insert(entry.first);
      settled.push_back(std::move(*change));
    } else {
      left.push_back(std::move(*change));
    }
  }
  std::reverse(left.begin(), left.end());
  pending_ = std::move(left);
  for (auto change = settled.rbegin(); change != settled.rend(); ++change) {
    for (const auto& [name, link] : *change) {
      if (link) {
        durable_[name] = link;
      } else {
        durable_.erase(name);
      }
    }
  }
}

void SimDisk::PowerOn(Survival survival, Rng& rng) {
  Settle([&](const Change&) {
    return survival == Survival::kNames ||
           ((survival == Survival::kRandom || survival == Survival::kTorn) && rng.Bernoulli(0.5));
  });
  pending_.clear();
  // A name in a folder that has none itself is lost with it.
  tree_.clear();
  for (const auto& [name, link] : durable_) {  // sorted: folders come before what is in them
    const bool reachable = name.empty() || tree_.contains(fs::FolderOf(name));
    if (!reachable) continue;
    tree_[name] = link;
    if (link->Lose(survival, rng)) ++torn_;
  }
  durable_ = tree_;
  power_left_.reset();
  ++boots_;
}

std::uint64_t SimDisk::dirty_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& entry : tree_) bytes += entry.second->dirty_bytes;
  return bytes;
}

std::optional<std::string> SimDisk::Read(const std::string& name) const {
  const auto found = tree_.find(name);
  if (found == tree_.end() || found->second->folder) return std::nullopt;
  return found->second->now.content;
}

std::vector<std::string> SimDisk::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, link] : tree_) {
    if (!name.empty()) names.push_back(link->folder ? name + "/" : name);
  }
  return names;
}

unsigned SimDisk::ModeOf(const std::string& name) const { return tree_.at(name)->now.mode; }
std::int64_t SimDisk::MtimeOf(const std::string& name) const {
  return tree_.at(name)->now.mtime_ns;
}

absl::StatusOr<std::unique_ptr<fs::DiskFile>> SimDisk::OpenFile(const std::string& name,
                                                                Disk::Open open) {
  const auto found = tree_.find(name);
  Link inode = found == tree_.end() ? nullptr : found->second;
  if (inode && inode->folder) {
    return Error(absl::StatusCode::kFailedPrecondition, "\"" + name + "\": Is a directory");
  }
  if (open != Disk::Open::kEmpty) {
    RETURN_IF_ERROR(Look("open", name));
    if (!inode) return NotFound(name);
    return std::make_unique<File>(this, name, std::move(inode));
  }
  RETURN_IF_ERROR(Begin("create", name));
  RETURN_IF_ERROR(NeedFolder(fs::FolderOf(name)));
  if (inode) {
    inode->now.content.clear();
  } else {
    inode = std::make_shared<Inode>();
    Make({{name, inode}});
  }
  return std::make_unique<File>(this, name, std::move(inode));
}

absl::Status SimDisk::Rename(const std::string& from, const std::string& to, Target target) {
  RETURN_IF_ERROR(Begin("rename", to));
  const auto found = tree_.find(from);
  if (found == tree_.end()) return NotFound(from);
  RETURN_IF_ERROR(NeedFolder(fs::FolderOf(to)));
  const auto there = tree_.find(to);
  if (there != tree_.end() && target == Target::kKeep) {
    return Error(absl::StatusCode::kAlreadyExists, "\"" + to + "\": File exists");
  }
  if (there != tree_.end() && there->second->folder) {
    return Error(absl::StatusCode::kFailedPrecondition, "\"" + to + "\": Is a directory");
  }
  Make({{to, found->second}, {from, nullptr}});
  return absl::OkStatus();
}

absl::Status SimDisk::Remove(const std::string& name) {
  RETURN_IF_ERROR(Begin("remove", name));
  if (!tree_.contains(name)) return NotFound(name);
  Make({{name, nullptr}});
  return absl::OkStatus();
}

absl::StatusOr<bool> SimDisk::MakeFolder(const std::string& name, unsigned mode) {
  RETURN_IF_ERROR(Begin("make folder", name));
  RETURN_IF_ERROR(NeedFolder(fs::FolderOf(name)));
  if (const auto found = tree_.find(name); found != tree_.end()) {
    if (found->second->folder) return false;
    return Error(absl::StatusCode::kFailedPrecondition, "\"" + name + "\": Not a directory");
  }
  const Link inode = std::make_shared<Inode>();
  inode->folder = true;
  inode->now.mode = inode->durable.mode = mode;
  Make({{name, inode}});
  return true;
}

absl::Status SimDisk::SyncFolder(const std::string& name) {
  RETURN_IF_ERROR(Begin("sync folder", name));
  RETURN_IF_ERROR(NeedFolder(name));
  if (forgotten_sync && forgotten_sync("folder " + name)) return absl::OkStatus();
  if (SyncFails()) return SyncLost(name);
  Settle([&](const Change& change) {
    return std::any_of(change.begin(), change.end(),
                       [&](const auto& entry) { return fs::FolderOf(entry.first) == name; });
  });
  return absl::OkStatus();
}

absl::StatusOr<std::vector<fs::Disk::Entry>> SimDisk::List(const std::string& folder) {
  RETURN_IF_ERROR(Look("list", folder));
  RETURN_IF_ERROR(NeedFolder(folder));
  std::vector<Entry> entries;
  for (const auto& [name, link] : tree_) {
    if (name.empty() || fs::FolderOf(name) != folder) continue;
    entries.push_back({name.substr(folder.empty() ? 0 : folder.size() + 1), link->folder, false,
                       link->now.content.size(), link->now.mtime_ns / 1'000'000'000});
  }
  return entries;
}

absl::StatusOr<bool> SimDisk::Exists(const std::string& name) {
  RETURN_IF_ERROR(Look("open", name));
  return tree_.contains(name);
}

}  // namespace ds::sim
