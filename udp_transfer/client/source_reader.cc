#include "udp_transfer/client/source_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <variant>

#include "common/fs/read_file.h"

namespace ds::udp_transfer {
namespace {

constexpr std::size_t kCompareBytes = std::size_t{1} << 20U;
constexpr unsigned kModeMask = 07777;

std::int64_t ModificationTime(const struct stat& info) {
  return info.st_mtim.tv_sec * std::int64_t{1'000'000'000} + info.st_mtim.tv_nsec;
}

/// Reads until the room is full or the file ends; the number of bytes, or -1.
ssize_t ReadFully(int fd, std::span<std::byte> room, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < room.size()) {
    const ssize_t n =
        ::pread(fd, room.data() + done, room.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return static_cast<ssize_t>(done);
}

}  // namespace

SourceReader::SourceReader(std::vector<Source> sources, bool resume, const DigestKey& digest_key)
    : sources_(std::move(sources)), resume_(resume), digest_key_(digest_key), digest_(digest_key) {
  // Inode numbers say nothing beyond their machine.
  if (auto id = fs::ReadFile("/etc/machine-id", 4096); id.ok()) machine_ = *std::move(id);
}

absl::Status SourceReader::HandleReplies(std::span<const std::byte> replies) {
  RETURN_IF_ERROR(sender_.HandleReplies(replies));
  for (FileSender::Result& result : sender_.TakeResults()) {
    const std::size_t source = begun_[result.number];
    if (!unanswered_.empty() && unanswered_.front().source == source) unanswered_.pop_front();
    results_.push_back({source, result.outcome, std::move(result.text)});
  }
  return absl::OkStatus();
}

std::vector<SourceReader::Result> SourceReader::TakeResults() {
  return std::exchange(results_, {});
}

std::size_t SourceReader::Fill(std::span<std::byte> room) {
  std::size_t filled = 0;
  for (;;) {
    const FileSender::Action action = sender_.Next();
    const std::span<std::byte> left = room.subspan(filled);
    if (std::holds_alternative<FileSender::Idle>(action)) {
      if (!BeginNext()) break;
      if (open_.kind == EntryKind::kFolder) NoteEnd(stream_bytes_ + filled);
    } else if (const auto* bytes = std::get_if<FileSender::Bytes>(&action)) {
      const std::size_t n = std::min(bytes->bytes.size(), left.size());
      if (n == 0) break;
      std::memcpy(left.data(), bytes->bytes.data(), n);
      filled += n;
      sender_.Written(n);
    } else if (const auto* content = std::get_if<FileSender::Content>(&action)) {
      if (left.empty()) break;
      filled += ReadContent(*content, left);
    } else if (const auto* prefix = std::get_if<FileSender::ComparePrefix>(&action)) {
      ComparePrefix(*prefix);
    } else if (std::holds_alternative<FileSender::CheckSource>(action)) {
      if (CheckSource()) NoteEnd(stream_bytes_ + filled);
    } else {
      break;  // WaitForReply
    }
  }
  stream_bytes_ += filled;
  return filled;
}

void SourceReader::NoteEnd(std::uint64_t stream_bytes) {
  const auto end = std::get<FileSender::Bytes>(sender_.Next());
  unanswered_.push_back({begun_.back(), stream_bytes + end.bytes.size()});
}

std::vector<std::size_t> SourceReader::MayBeStored(std::uint64_t sent) const {
  std::vector<std::size_t> sources;
  for (const Unanswered& each : unanswered_) {
    if (each.end <= sent) sources.push_back(each.source);
  }
  return sources;
}

bool SourceReader::BeginNext() {
  fd_.Reset();
  while (next_ < sources_.size()) {
    const std::size_t index = next_++;
    if (const absl::Status opened = Open(sources_[index]); !opened.ok()) {
      results_.push_back({index, Outcome::kAborted, Message(opened)});
      continue;
    }
    begun_.push_back(index);
    sender_.Begin(open_);
    return true;
  }
  at_end_ = true;
  return false;
}

absl::Status SourceReader::Open(const Source& source) {
  const std::string what = fmt::format("open \"{}\"", source.path);
  fd_.Reset(::open(source.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info {};
  if (!fd_ || ::fstat(fd_.get(), &info) != 0) return ErrnoError(what, errno);
  if (source.folder ? !S_ISDIR(info.st_mode) : !S_ISREG(info.st_mode)) {
    return Error(absl::StatusCode::kFailedPrecondition, what + ": is something else by now");
  }
  ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  open_ = {};
  open_.kind = source.folder ? EntryKind::kFolder : EntryKind::kFile;
  open_.resume = resume_ && !source.folder;
  open_.size = source.folder ? 0 : static_cast<std::uint64_t>(info.st_size);
  open_.mtime_ns = ModificationTime(info);
  open_.mode = info.st_mode & kModeMask;
  open_.identity = Digest(SourceIdentity{.device = info.st_dev,
                                         .inode = info.st_ino,
                                         .size = open_.size,
                                         .mtime_ns = open_.mtime_ns,
                                         .machine = machine_});
  open_.name = source.name;
  digest_ = FileDigest(digest_key_);
  return absl::OkStatus();
}

void SourceReader::ComparePrefix(const FileSender::ComparePrefix& prefix) {
  std::vector<std::byte> buffer(kCompareBytes);
  digest_ = FileDigest(digest_key_);
  for (std::uint64_t offset = 0; offset < prefix.offset;) {
    const std::size_t want =
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), prefix.offset - offset));
    const ssize_t n = ReadFully(fd_.get(), std::span(buffer).first(want), offset);
    if (n != static_cast<ssize_t>(want)) {
      return sender_.SourceChanged(n < 0 ? ErrnoText(errno) : "the file became shorter");
    }
    digest_.Update(std::span(buffer).first(want));
    offset += want;
  }
  const bool same = digest_.Value() == prefix.digest;
  if (same) {
    resumed_bytes_ += prefix.offset;
  } else {
    digest_ = FileDigest(digest_key_);
  }
  sender_.PrefixCompared(same);
}

std::size_t SourceReader::ReadContent(const FileSender::Content& content,
                                      std::span<std::byte> room) {
  const std::size_t want =
      static_cast<std::size_t>(std::min<std::uint64_t>(content.length, room.size()));
  const ssize_t n = ReadFully(fd_.get(), room.first(want), content.offset);
  if (n < 0) {
    sender_.SourceChanged(ErrnoText(errno));
    return 0;
  }
  const auto bytes = static_cast<std::size_t>(n);
  if (bytes > 0) {
    digest_.Update(room.first(bytes));
    sender_.Written(bytes);
  }
  if (bytes < want) sender_.SourceChanged("the file became shorter");
  return bytes;
}

bool SourceReader::CheckSource() {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0) {
    sender_.SourceChanged(ErrnoText(errno));
  } else if (static_cast<std::uint64_t>(info.st_size) != open_.size ||
             ModificationTime(info) != open_.mtime_ns) {
    sender_.SourceChanged("the file was changed meanwhile");
  } else {
    sender_.Finished(digest_.Value());
    return true;
  }
  return false;
}

}  // namespace ds::udp_transfer
