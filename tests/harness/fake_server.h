#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/base/unique_fd.h"

namespace ds::testing {

/// A server that says what a script tells it, right or wrong: what a client is tested against.
/// Serves one connection at a time, on 127.0.0.1, in the order of their arrival. Thread-safe.
class FakeServer {
 public:
  /// One connection, as its script sees it. All calls return early when the server is to end.
  class Conversation {
   public:
    /// Everything up to and with the next empty line; nothing once the peer has closed.
    std::string ReadRequest();
    void Send(std::string_view bytes);
    /// The same, one byte per call and segment.
    void SendSlowly(std::string_view bytes);
    /// Waits until the peer closes.
    void WaitForEnd();
    /// Throws the connection away. The script has nothing more to say after that.
    void Reset();

   private:
    friend class FakeServer;
    Conversation(FakeServer* server, UniqueFd socket)
        : server_(server), socket_(std::move(socket)) {}

    FakeServer* const server_;
    UniqueFd socket_;
    std::string received_;
  };
  /// When it returns, the connection is closed in an orderly way.
  using Script = std::function<void(Conversation&)>;

  /// Connection i gets scripts[i]; the last script is for all further ones, too.
  explicit FakeServer(std::vector<Script> scripts);
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::uint16_t port() const { return port_; }
  /// What Conversation::ReadRequest() has returned so far, without the empty ones.
  std::vector<std::string> requests() const;
  std::size_t connections() const;

  /// Reads one request, answers with `bytes` and closes.
  static Script Answer(std::string bytes);
  /// Answers every request of a connection with `bytes`.
  static Script AnswerAll(std::string bytes);

 private:
  void Serve();

  const std::vector<Script> scripts_;
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  const UniqueFd stop_;  ///< eventfd: readable when the server is to end
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;  // guarded by mutex_
  std::size_t connections_ = 0;        // guarded by mutex_
  std::jthread thread_;
};

}  // namespace ds::testing
