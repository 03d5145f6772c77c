#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "common/net/endpoint.h"
#include "common/net/event_loop.h"
#include "getfile/client/download.h"
#include "getfile/core/answer.h"
#include "getfile/core/http_answer_parser.h"
#include "getfile/core/protocol.h"

namespace ds::getfile {

/// What is asked of which server. Made once, constant during the run, shared by all threads.
struct BenchPlan {
  struct Request {
    std::string path;  ///< for messages
    std::string bytes;
    std::string bytes_without_keep_alive;  ///< the same for a server that does not know it
    std::string digest;                    ///< SHA-256 of the body in hexadecimal; empty: any
  };

  Protocol protocol = Protocol::kGetfile;
  bool keep_alive = false;
  std::vector<net::Endpoint> endpoints;  ///< tried in order, at least one
  std::vector<Request> requests;         ///< at least one
  Duration timeout = std::chrono::seconds(10);
};

/// Why a request failed; the names are those of the report.
enum class BenchError {
  kConnect,    ///< no connection
  kClosed,     ///< closed or reset before the end of the answer
  kTimeout,    ///< not complete in time
  kMalformed,  ///< no answer of this protocol, or one without a length, or longer than its length
  kStatus,     ///< another status than found
  kVerify,     ///< another digest
  kKeepAlive,  ///< a GETFILE server that does not know keep-alive
};
const char* Name(BenchError error);

/// What the connections of one thread share.
struct BenchSession {
  /// Both must outlive the session.
  BenchSession(const BenchPlan* bench_plan, net::EventLoop* event_loop);

  const BenchPlan* const plan;
  net::EventLoop* const loop;
  bool keep_alive;           ///< given up for good when the server does not know it
  std::size_t endpoint = 0;  ///< the one that worked last
  std::vector<char> buffer;  ///< what is received, and looked at before the next receive
};

/// One connection of the load generator: one request at a time, over one socket for many of them or
/// each over its own. It costs a connect, a send and a receive per request, or less: the socket is
/// registered once, edge triggered; the request is sent with the connect where the kernel permits;
/// bodies are discarded inside the kernel unless there is a digest to check. Belongs to the thread
/// of the session's loop.
class BenchConnection final : net::EventLoop::Watcher, net::EventLoop::Timer {
 public:
  class Owner {
   public:
    /// The request that Start() began has its answer, of `bytes` body bytes.
    virtual void OnAnswered(TimePoint counted_from, TimePoint now, std::uint64_t bytes) = 0;
    /// `what`: "what was tried: why it failed".
    virtual void OnFailed(TimePoint counted_from, TimePoint now, BenchError error,
                          std::string_view what) = 0;
    /// Start() may be called again. After an answer at once; after a failure a little later, so
    /// that a server that is not there is not asked in a tight loop.
    virtual void OnIdle(BenchConnection* connection, TimePoint now) = 0;

   protected:
    ~Owner() = default;
  };

  BenchConnection(BenchSession* session, Owner* owner);
  ~BenchConnection() override;
  BenchConnection(const BenchConnection&) = delete;
  BenchConnection& operator=(const BenchConnection&) = delete;

  /// `counted_from` comes back with the result. The owner is not called before this returns, but
  /// for OnFailed(). REQUIRES: idle, as a new one is.
  void Start(const BenchPlan::Request& request, TimePoint counted_from, TimePoint now);

 private:
  enum class State {
    kIdle,     ///< with an open connection, or without
    kSending,  ///< or connecting
    kHead,
    kBody,
    kResting,  ///< after a failure
  };

  void OnEvents(std::uint32_t events) override;
  void OnTimer() override;

  /// Connects and begins to send, to one endpoint after the other until there is one to wait for.
  void Connect();
  /// Turns to the next endpoint; false, and the request has failed, when all were tried.
  bool TryNextEndpoint(int error_number);
  /// An errno; 0: sent, or waiting for the socket.
  int ConnectTo(const net::Endpoint& endpoint);
  int Send();
  int Watch(std::uint32_t events);
  void Receive();
  void Defer();
  /// Takes received bytes; false when the request is over.
  bool Take(std::string_view bytes);
  bool TakeHead(std::string_view* bytes);
  bool TakeStatus(AnswerStatus status);
  void Finish();
  /// Ends the request, and the connection with it.
  void Fail(BenchError error, std::string_view why);
  void Close();

  BenchSession* const session_;
  Owner* const owner_;
  State state_ = State::kIdle;
  UniqueFd fd_;
  std::uint32_t watched_ = 0;  ///< events that fd_ is registered for
  bool connected_ = false;
  bool hung_up_ = false;   ///< the peer will send nothing more than what is there
  bool deferred_ = false;  ///< a call of OnEvents(0) is under way
  std::size_t endpoint_ = 0;
  std::size_t endpoints_tried_ = 0;
  Duration rest_;  ///< after the next failure to connect

  const BenchPlan::Request* request_ = nullptr;
  TimePoint counted_from_;
  bool keep_alive_ = false;  ///< the request asks for it
  std::string_view unsent_;
  AnswerParser getfile_head_;
  HttpAnswerParser http_head_;
  std::uint64_t length_ = 0;  ///< of the body
  std::uint64_t left_ = 0;    ///< of the body, not yet received
  bool reusable_ = false;     ///< the answer permits another request
  std::optional<Sha256> digest_;
};

}  // namespace ds::getfile
