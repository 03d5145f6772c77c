#include "tests/harness/temp_dir.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "common/base/check.h"
#include "common/base/status.h"

namespace ds::testing {
namespace {

namespace stdfs = std::filesystem;

std::string TemporaryRoot() {
  const char* folder = std::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  return folder != nullptr && *folder != '\0' ? folder : "/tmp";
}

/// Gives the owner back what a test took from folders below `path`, or remove_all() fails.
void MakeRemovable(const std::string& path) {
  std::error_code ignored;
  stdfs::permissions(path, stdfs::perms::owner_all, stdfs::perm_options::add, ignored);
  for (auto entry = stdfs::recursive_directory_iterator(path, ignored);
       entry != stdfs::recursive_directory_iterator(); entry.increment(ignored)) {
    if (!entry->is_directory(ignored) || entry->is_symlink(ignored)) continue;
    stdfs::permissions(entry->path(), stdfs::perms::owner_all, stdfs::perm_options::add, ignored);
  }
}

}  // namespace

TempDir::TempDir() : path_(TemporaryRoot() + "/ds-test-XXXXXX") {
  CHECK(::mkdtemp(path_.data()) != nullptr, fmt::format("mkdtemp {}: {}", path_, ErrnoText(errno)));
  CHECK(::chmod(path_.c_str(), 0755) == 0);
}

TempDir::~TempDir() {
  std::error_code error;
  stdfs::remove_all(path_, error);
  if (!error) return;
  MakeRemovable(path_);
  stdfs::remove_all(path_, error);
}

std::string TempDir::path(std::string_view name) const { return fmt::format("{}/{}", path_, name); }

std::string TempDir::Write(std::string_view name, std::string_view bytes) const {
  std::string file = path(name);
  std::error_code error;
  stdfs::create_directories(stdfs::path(file).parent_path(), error);
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  CHECK(out.good(), fmt::format("write {}: {}", file, ErrnoText(errno)));
  return file;
}

std::string TempDir::Read(std::string_view name) const {
  std::ifstream in(path(name), std::ios::binary);
  CHECK(in.good(), fmt::format("read {}: {}", path(name), ErrnoText(errno)));
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

bool TempDir::Exists(std::string_view name) const {
  std::error_code error;
  return stdfs::exists(stdfs::symlink_status(path(name), error));
}

}  // namespace ds::testing
