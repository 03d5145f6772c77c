#include "getfile/server/file_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/fs/read_file.h"
#include "getfile/core/content_list.h"

namespace ds::getfile {
namespace {

// O_NONBLOCK: a FIFO or device must not hold the worker. Nothing but regular files is read later.
constexpr int kOpenFlags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

/// A component that begins with a dot; "." and ".." are no names of files.
bool HasDotFile(std::string_view path) {
  while (!path.empty()) {
    const std::string_view component = path.substr(0, path.find('/'));
    if (component.starts_with('.') && component != "." && component != "..") return true;
    path.remove_prefix(std::min(component.size() + 1, path.size()));
  }
  return false;
}

absl::Status CheckServable(const std::string& file) {
  const UniqueFd fd(::open(file.c_str(), kOpenFlags));
  if (!fd) return ErrnoError(fmt::format("open \"{}\"", file), errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoError(fmt::format("stat \"{}\"", file), errno);
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument(fmt::format("open \"{}\": not a regular file", file));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const FileTree>> FileTree::FromRoot(const std::string& root,
                                                                   bool dot_files) {
  auto opened = fs::RootedDir::Open(root);
  if (!opened.ok()) return InvalidArgument(Message(opened.status()) + " (see --root)");
  std::shared_ptr<FileTree> tree(new FileTree());
  tree->root_ = std::move(opened).value();
  tree->dot_files_ = dot_files;
  return tree;
}

absl::StatusOr<std::shared_ptr<const FileTree>> FileTree::FromContentFile(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return InvalidArgument(fmt::format("content file: open \"{}\": {}", path,
                                       error ? error.message() : "not a regular file"));
  }
  auto text = fs::ReadFile(path);
  if (!text.ok()) return InvalidArgument("content file: " + Message(text.status()));
  ContentList list = ParseContentList(*text);
  std::shared_ptr<FileTree> tree(new FileTree());
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  for (auto& entry : list.entries) {
    std::string file = (folder / entry.file).string();
    if (const absl::Status status = CheckServable(file); !status.ok()) {
      list.errors.push_back(fmt::format("line {}: {}", entry.line, Message(status)));
    }
    tree->file_of_key_.emplace(std::move(entry.key), std::move(file));
  }
  if (!list.errors.empty()) {
    return InvalidArgument(
        fmt::format("content file \"{}\": {}", path, fmt::join(list.errors, "; ")));
  }
  return tree;
}

std::string FileTree::IndexOf(const std::string& request_path) const {
  if (!root_ && file_of_key_.contains(request_path)) return request_path;
  return request_path + "index.html";
}

int FileTree::Open(const std::string& request_path) const {
  return OpenWith(request_path, kOpenFlags);
}

int FileTree::OpenPath(const std::string& request_path) const {
  return OpenWith(request_path, O_PATH | O_CLOEXEC);
}

int FileTree::OpenWith(const std::string& request_path, int flags) const {
  if (root_) {
    if (!dot_files_ && HasDotFile(request_path)) return -ENOENT;
    return root_->OpenBeneath(request_path.c_str(), flags);
  }
  const auto entry = file_of_key_.find(request_path);
  if (entry == file_of_key_.end()) return -ENOENT;
  const int fd = ::open(entry->second.c_str(), flags);
  return fd >= 0 ? fd : -errno;
}

}  // namespace ds::getfile
