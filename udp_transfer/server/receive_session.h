#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "udp_transfer/core/file_receiver.h"
#include "udp_transfer/seal/key_schedule.h"
#include "udp_transfer/server/partial_store.h"

namespace ds::udp_transfer {

/// One connection's files at the server: executes what FileReceiver asks for on a PartialStore.
/// Owned by the one thread that does the connection's disk work; every call may block on the disk.
/// When it goes in the middle of a file, what there is of it is kept for a resume.
///
///   ReceiveSession session(store, keys.digest);
///   for (;;) {
///     auto taken = session.Receive(connection.Readable(), now);   // !ok: close the connection
///     connection.Consume(*taken);
///     …move session.replies() to connection.Writable(); not empty: wait for room first…
///     …nothing more to receive now: Settle(), its replies…
///     …*taken == 0: wait for bytes; PeerFinished(): at_end(), else it is broken…
///   }
class ReceiveSession {
 public:
  struct Stats {
    std::uint64_t files_stored = 0;
    std::uint64_t files_failed = 0;
    std::uint64_t content_bytes = 0;  ///< received and written
    std::uint64_t resumed_bytes = 0;  ///< there already
  };

  /// The store must outlive it.
  ReceiveSession(PartialStore* store, const DigestKey& key) : store_(store), key_(key) {}

  /// Takes bytes off the front of the client's stream, up to one effect or answer; returns how
  /// many. 0: it needs more, or replies() are not empty, or it reads what is there of a file: then
  /// it took so long as others may be kept waiting, and is to be called again with the same bytes
  /// at its front. kInvalidArgument: the client breaks the
  /// rules; kDataLoss: see PartialStore.
  absl::StatusOr<std::size_t> Receive(std::span<const std::byte> bytes, TimePoint now);

  /// Gives the files that are complete their names, all together: until then their answers wait. To
  /// be called when there is nothing to Receive() for now; many files do it by themselves.
  /// kDataLoss: see PartialStore.
  absl::Status Settle();

  /// For the server's stream; the caller takes bytes off the front.
  std::string& replies() { return receiver_.replies(); }
  bool at_end() const { return receiver_.at_end(); }
  const Stats& stats() const { return stats_; }

 private:
  absl::Status Execute(const FileReceiver::Effect& effect, TimePoint now);
  void Open(const OpenMessage& open);
  /// Reads on in the file that is opened.
  void Prepare();
  void Finish(const std::string& digest);
  /// Answers the effect: the file is not received any more.
  void Fail(const absl::Status& status);

  /// Files whose syncs are shared; their descriptors stay open until then.
  static constexpr std::size_t kGroupMax = 64;

  PartialStore* store_;
  const DigestKey key_;
  FileReceiver receiver_;
  std::unique_ptr<PartialStore::File> file_;
  std::string name_;           ///< file_'s
  bool opening_ = false;       ///< what is there of file_ is being read
  std::uint64_t offered_ = 0;  ///< bytes of file_ that are there, until the client goes on or not
  std::vector<std::unique_ptr<PartialStore::File>> complete_;  ///< wait for Settle()
  std::set<std::string> complete_names_;                       ///< what they are to be called
  std::size_t consumed_ = 0;                                   ///< by the last effect
  absl::Status disk_;                                          ///< a failed sync ends the session
  Stats stats_;
};

}  // namespace ds::udp_transfer
