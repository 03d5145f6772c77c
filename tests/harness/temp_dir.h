#pragma once

#include <string>
#include <string_view>

namespace ds::testing {

/// A new, empty folder (mode 0755: a daemon that runs as another user can read it) under $TMPDIR or
/// /tmp, removed with everything in it when the object goes. Failures to create, write or read end
/// the test program: the machine cannot run the test.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  /// The path of `name` below the folder.
  std::string path(std::string_view name) const;

  /// Writes a file, replacing an older one, creating the folders in its name. Returns its path.
  std::string Write(std::string_view name, std::string_view bytes) const;
  /// REQUIRES: the file exists.
  std::string Read(std::string_view name) const;
  bool Exists(std::string_view name) const;

 private:
  std::string path_;
};

}  // namespace ds::testing
