#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "tests/harness/deadline.h"

// Classic peers as somebody else would write them: plain sockets and string splitting, straight
// from the table of messages. They share no code with udp_transfer, on purpose.

namespace ds::testing {

/// A UDP socket connected to one address, to say anything to a server and to hear what it answers.
/// Not thread-safe.
class DatagramPeer {
 public:
  /// `host`: a numeric address, IPv6 without brackets. Failing fails the test. `from`: the IPv4
  /// address to send from; empty: what the system takes.
  DatagramPeer(const std::string& host, std::uint16_t port, const std::string& from = "");

  void Send(std::string_view datagram);
  /// The next datagram; nothing if none comes in time, or the server's address refuses.
  std::optional<std::string> Receive(Duration deadline = kDeadline);
  /// Send() and Receive().
  std::optional<std::string> Ask(std::string_view datagram, Duration deadline = kDeadline);

 private:
  UniqueFd socket_;
};

/// Data of a number yet to come, which is a sign of life and changes nothing. REQUIRES: the server
/// has the start message of number 0 and no data.
bool SaysItIsThere(DatagramPeer& peer);

/// A port of 127.0.0.1 at which the kernel refuses datagrams, and which nobody else gets meanwhile.
class RefusingPort {
 public:
  RefusingPort();
  std::uint16_t port() const { return port_; }

 private:
  UniqueFd socket_;
  std::uint16_t port_ = 0;
};

/// A classic client sends a file: each message five times, 0.5 s apart. Blocks.
struct ForeignSend {
  std::string name;
  std::string content;
  std::uint64_t seqno0 = 0;
  /// Some clients send one empty data message for an empty file.
  bool empty_data_for_empty_file = false;
};
struct ForeignResult {
  bool done = false;
  std::string error;            ///< what was not acknowledged, or acknowledged wrongly
  std::uint64_t buf_bytes = 0;  ///< the server's
  int messages = 0;             ///< the start and all data
};
ForeignResult SendAsForeignClient(DatagramPeer& server, const ForeignSend& send);

/// A classic server on 127.0.0.1, with the ways of classic servers that a client of two protocols
/// could stumble over. Runs a thread until it is destroyed. Thread-safe.
class ForeignClassicServer {
 public:
  struct Options {
    std::size_t buf_bytes = 1024;
    /// Data with a number yet to come is acknowledged as if taken, and thrown away.
    bool takes_future_data = false;
    /// A message with a field too many is not answered. (Else the field is ignored.)
    bool silent_on_extra_fields = false;
    /// Whatever is no start message is treated as data, by its second field.
    bool takes_unknown_types_for_data = false;
    /// Messages are decoded as ASCII; the first byte beyond ends the server.
    bool dies_of_other_bytes = false;
    /// The first ack of each message is not sent.
    bool loses_first_acks = false;
  };

  explicit ForeignClassicServer(const Options& options);
  ~ForeignClassicServer();
  ForeignClassicServer(const ForeignClassicServer&) = delete;
  ForeignClassicServer& operator=(const ForeignClassicServer&) = delete;

  std::uint16_t port() const { return port_; }
  /// The content of a file that is complete.
  std::optional<std::string> File(const std::string& name) const;
  /// How many datagrams began with this.
  std::size_t Seen(std::string_view prefix) const;
  bool dead() const;

 private:
  struct Session {
    std::string start;  ///< the message
    std::string name;
    std::uint64_t seqno0 = 0;
    std::uint64_t next_seqno = 0;
    std::size_t total_bytes = 0;
    std::string content;
  };

  void Serve();
  /// The answer to a datagram; empty: none.
  std::string Answer(const std::string& from, const std::string& datagram);
  std::string AnswerStart(const std::string& from, const std::string& datagram);
  std::string AnswerData(Session& session, const std::string& datagram);

  const Options options_;
  UniqueFd socket_;
  UniqueFd stop_;
  std::uint16_t port_ = 0;
  std::map<std::string, Session> sessions_;  ///< by address; of the thread
  mutable std::mutex mutex_;
  std::map<std::string, std::string> files_;  ///< guarded by mutex_
  std::vector<std::string> seen_;             ///< guarded by mutex_
  bool dead_ = false;                         ///< guarded by mutex_
  std::jthread thread_;
};

}  // namespace ds::testing
