#include "udp_transfer/client/source_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "common/base/parse.h"

namespace ds::udp_transfer {
namespace {

namespace stdfs = std::filesystem;

/// The last component, also of "folder/" and "..".
std::string BaseName(const std::string& path) {
  stdfs::path whole = stdfs::path(path).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  if (whole.filename() == "." || whole.filename() == "..") {
    std::error_code error;
    whole = stdfs::weakly_canonical(path, error);
  }
  return whole.filename().string();
}

/// An error is about the folder itself; what cannot be sent below it stands in `skipped`.
absl::Status AddFolder(const std::string& path, const std::string& name,
                       std::vector<Source>* sources, std::vector<Skipped>* skipped) {
  std::error_code error;
  // One folder at a time, so that its entries can be put in order: runs can be compared.
  std::vector<stdfs::directory_entry> entries;
  for (stdfs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    entries.push_back(*entry);
  }
  if (error) {
    return ErrnoError(fmt::format("list folder \"{}\"", path), error.value());
  }
  sources->push_back({path, name, /*folder=*/true, 0});
  std::sort(entries.begin(), entries.end());
  for (const stdfs::directory_entry& entry : entries) {
    const std::string at = entry.path().string();
    const std::string below = name + "/" + entry.path().filename().string();
    const stdfs::file_status status = entry.symlink_status(error);
    if (error) {
      skipped->push_back({at, ErrnoError(fmt::format("stat \"{}\"", at), error.value()), true});
    } else if (stdfs::is_directory(status)) {
      if (absl::Status listed = AddFolder(at, below, sources, skipped); !listed.ok()) {
        skipped->push_back({at, std::move(listed), true});
      }
    } else if (stdfs::is_regular_file(status)) {
      const std::uint64_t bytes = entry.file_size(error);
      if (error) {
        skipped->push_back({at, ErrnoError(fmt::format("stat \"{}\"", at), error.value()), true});
      } else {
        sources->push_back({at, below, /*folder=*/false, bytes});
      }
    } else {
      const char* const what =
          stdfs::is_symlink(status) ? "a link, which is not sent" : "neither a file nor a folder";
      skipped->push_back({at, Error(absl::StatusCode::kFailedPrecondition,
                                    fmt::format("\"{}\" is {}", at, what))});
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Source>> ListSources(const std::vector<std::string>& paths,
                                                const std::string& name,
                                                std::vector<Skipped>* skipped) {
  std::vector<Source> sources;
  std::map<std::string, std::string> targets;  // and the path that has it
  const bool below = paths.size() > 1 || name.ends_with('/');
  std::string parent = name;
  while (below && parent.ends_with('/')) parent.pop_back();
  for (const std::string& path : paths) {
    const std::string target = !below           ? name
                               : parent.empty() ? BaseName(path)
                                                : parent + "/" + BaseName(path);
    if (const auto [other, is_new] = targets.emplace(target, path); !is_new) {
      return InvalidArgument(fmt::format("send \"{}\" and \"{}\": both would be \"{}\"",
                                         EscapeBytes(other->second), EscapeBytes(path),
                                         EscapeBytes(target)));
    }
    std::error_code error;
    const stdfs::file_status status = stdfs::status(path, error);
    if (error || !stdfs::exists(status)) {
      return ErrnoError(fmt::format("open \"{}\"", path), error ? error.value() : ENOENT);
    }
    if (stdfs::is_directory(status)) {
      RETURN_IF_ERROR(AddFolder(path, target, &sources, skipped));
    } else if (stdfs::is_regular_file(status)) {
      sources.push_back({path, target, /*folder=*/false, stdfs::file_size(path, error)});
    } else {
      return Error(absl::StatusCode::kFailedPrecondition,
                   fmt::format("open \"{}\": neither a file nor a folder", path));
    }
  }
  return sources;
}

}  // namespace ds::udp_transfer
