#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"

// A file over one TCP socket, as plainly as it goes: what the transfer over UDP is measured beside.
// It does the same work at both ends: reads the file and digests it (XXH3-128), checks the digest,
// syncs the file and its folder, gives it its name, and only then says that it is done.
//
// On the wire: "DSTC", version 1, length of the name 2, size 8 (both big-endian), the name, the
// content, its digest 16; back comes one byte, 1.

namespace ds::udp_transfer {

struct TcpSendOptions {
  std::string server;       ///< HOST:PORT
  std::string path;         ///< of a regular file
  std::string name;         ///< at the receiver; empty: the last part of the path
  std::string congestion;   ///< cubic, bbr, …; empty: the system's
  double time_limit_s = 0;  ///< then what was acknowledged so far counts; 0: none
};

struct TcpSendResult {
  bool complete = false;
  std::uint64_t bytes = 0;  ///< of the file, acknowledged by the peer's kernel or, complete, by it
  Duration time{};          ///< from before the connection is made
  std::uint64_t sent_bytes = 0;  ///< with what was sent again
  std::uint64_t retransmitted_bytes = 0;
  double rtt_ms = 0;
  std::string congestion;

  /// One object with the members of udp-client's results.
  std::string ToJson() const;
};

/// Sends one file. `cancel_fd`: gives up with kCancelled once it is readable.
absl::StatusOr<TcpSendResult> SendFileOverTcp(const TcpSendOptions& options, int cancel_fd);

struct TcpReceiveOptions {
  std::string listen = "127.0.0.1:5001";
  std::string folder = ".";
  bool sync = true;
  bool allow_insecure = false;
};

struct FileListener {
  net::Listener listener;
  UniqueFd folder;
};

/// Opens the folder, checks the address and binds it. kInvalidArgument: refused off loopback.
absl::StatusOr<FileListener> ListenForFiles(const TcpReceiveOptions& options);

/// Receives one file after another until `cancel_fd` is readable. What is wrong with one connection
/// is printed on stderr and ends only that.
absl::Status ReceiveFilesOverTcp(const FileListener& files, bool sync, int cancel_fd);

}  // namespace ds::udp_transfer
