#pragma once

#include <string>

#include "common/base/status.h"

namespace ds::fs {

/// A pre-shared key, of udp-server's --key-file or of --cluster-key.
struct KeyFile {
  static constexpr std::size_t kKeyBytesMin = 16;
  static constexpr std::size_t kKeyBytesMax = 4096;

  std::string key;
  bool others_may_read = false;  ///< group or others: worth a warning
};

/// The file's bytes as they are, but for one line end (LF or CR LF) behind them, which editors and
/// `openssl rand -base64 32` add. Shorter than 16 or longer than 4096 bytes: kInvalidArgument.
absl::StatusOr<KeyFile> ReadKeyFile(const std::string& path);

}  // namespace ds::fs
