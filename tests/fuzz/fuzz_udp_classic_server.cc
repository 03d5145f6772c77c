#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <variant>
#include <vector>

#include "common/base/check.h"
#include "udp_transfer/core/classic_server.h"
#include "udp_transfer/core/transfer_name.h"

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using ds::udp_transfer::CheckClassicName;
using ds::udp_transfer::ClassicServer;
using ds::udp_transfer::ClassicSession;
using ds::udp_transfer::PeerAddress;

namespace {

/// Holds what a storage may rely on.
class Storage {
 public:
  void Do(ClassicServer::Effects effects, std::size_t datagram_bytes) {
    for (const auto& effect : effects) {
      if (const auto* create = std::get_if<ClassicServer::Create>(&effect)) {
        CHECK(CheckClassicName(create->name).ok());
        CHECK(files_.try_emplace(create->session, File{create->total_bytes}).second);
      } else if (const auto* append = std::get_if<ClassicServer::Append>(&effect)) {
        File& file = files_.at(append->session);
        CHECK(!file.busy, "one piece at a time");
        CHECK(!append->bytes.empty() && append->bytes.size() <= file.missing_bytes);
        file.missing_bytes -= append->bytes.size();
        file.busy = true;
      } else if (const auto* complete = std::get_if<ClassicServer::Complete>(&effect)) {
        File& file = files_.at(complete->session);
        CHECK(file.busy && !file.complete && file.missing_bytes == 0);
        file.complete = true;
      } else if (const auto* discard = std::get_if<ClassicServer::Discard>(&effect)) {
        CHECK(files_.erase(discard->session) == 1);
      } else if (const auto* send = std::get_if<ClassicServer::Send>(&effect)) {
        CHECK(send->size <= datagram_bytes, "no answer is larger than its datagram");
      }
    }
  }
  /// A session that storage has something to do for.
  const ClassicSession* Busy(std::size_t choice) {
    std::vector<const ClassicSession*> busy;
    for (const auto& [session, file] : files_) {
      if (file.busy) busy.push_back(&session);
    }
    return busy.empty() ? nullptr : busy[choice % busy.size()];
  }
  /// All of it is done.
  void Finish(ClassicSession session) {
    const auto file = files_.find(session);
    file->second.busy = false;
    if (file->second.complete) files_.erase(file);
  }
  std::size_t size() const { return files_.size(); }

 private:
  struct File {
    std::uint64_t missing_bytes;
    bool busy = true;
    bool complete = false;
  };
  std::map<ClassicSession, File> files_;
};

}  // namespace

/// The input is a script: each step's first byte chooses what happens, the second how much. Nothing
/// that peers, storage and the clock do breaks what storage and the wire rely on.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ClassicServer::Options options{.buf_bytes = 30,
                                       .sessions_max = 3,
                                       .sessions_per_source_max = 2,
                                       .session_bytes_max = 100,
                                       .total_bytes_max = 200};
  ClassicServer server(options);
  Storage storage;
  ds::TimePoint now{1s};
  std::span<const std::byte> input(reinterpret_cast<const std::byte*>(data), size);
  while (input.size() >= 2) {
    const auto choice = static_cast<std::size_t>(input[0]);
    const auto amount = static_cast<std::size_t>(input[1]);
    input = input.subspan(2);
    PeerAddress from;
    from.bytes[0] = static_cast<std::byte>(choice / 32 % 2);
    from.bytes[17] = static_cast<std::byte>(choice / 64 % 4);
    switch (choice % 8) {
      case 0:
        now += std::chrono::milliseconds(10 * amount);
        storage.Do(server.HandleTimeout(now), 0);
        break;
      case 1:
        storage.Do(server.HandleHello(from, now).effects, 1200);
        break;
      case 2:
        storage.Do(server.DropSession(from, now), 0);
        break;
      case 3:
        if (const ClassicSession* busy = storage.Busy(amount)) {
          storage.Do(server.StorageFailed(*busy, now), 0);
        }
        break;
      case 4:
        if (amount == 0) storage.Do(server.DiscardAll(), 0);
        break;
      default: {
        const auto datagram = input.first(std::min(amount, input.size()));
        input = input.subspan(datagram.size());
        storage.Do(server.HandleDatagram(from, datagram, now), datagram.size());
      }
    }
    if (choice % 8 == 5 || choice % 16 == 6) {  // storage that is fast
      if (const ClassicSession* busy = storage.Busy(amount)) {
        const ClassicSession session = *busy;
        storage.Finish(session);
        storage.Do(server.Stored(session, now), 1200);
      }
    }
    CHECK(storage.size() == server.unfinished());
    CHECK(server.unfinished() <= options.sessions_max);
    CHECK(server.reserved_bytes() <= options.total_bytes_max);
    CHECK(!server.NextDeadline() || *server.NextDeadline() > now);
  }
  storage.Do(server.DiscardAll(), 0);
  CHECK(storage.size() == 0 && server.reserved_bytes() == 0);
  return 0;
}
