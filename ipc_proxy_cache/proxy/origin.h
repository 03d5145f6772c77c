#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/net/event_loop.h"

namespace ds::ipc_proxy_cache {

/// What the origin was asked.
struct OriginRequest {
  std::string url;  ///< http or https, percent-encoded
  bool head = false;
  std::vector<std::string> fields;  ///< further header lines, without CR LF
};

/// The head of one answer.
struct AnswerHead {
  int code = 0;
  std::string fields;  ///< header lines, each ending in CR LF
};

/// The head of the final answer, and those of the redirects that were followed to it.
struct OriginHead : AnswerHead {
  /// The end of the body is the end of the connection: whether it is whole nobody can tell.
  bool until_close = false;
  std::vector<AnswerHead> redirects;
};

/// Who receives one answer: OnHead, then OnBody any number of times, then OnEnd; or OnEnd alone.
/// Called on the loop's thread and never from within a call of OriginClient or OriginFetch. May
/// begin further fetches and destroy any, its own too.
class OriginSink {
 public:
  virtual void OnHead(const OriginHead& head) = 0;
  /// The next bytes, at most 16 KiB. False: cannot take them now; they come again after Resume().
  virtual bool OnBody(std::string_view bytes) = 0;
  /// OK: the answer is whole (by its Content-Length, its chunks, or its frames). DeadlineExceeded:
  /// a time limit passed. Unavailable: nobody answered. DataLoss: the answer broke off or was not
  /// HTTP. InvalidArgument: the URL, or a redirect, is not one to follow.
  virtual void OnEnd(absl::Status status) = 0;

 protected:
  virtual ~OriginSink() = default;
};

class OriginClient;

/// A fetch under way; destroying it cancels it, and the sink is not called any more.
class OriginFetch {
 public:
  ~OriginFetch();
  OriginFetch(const OriginFetch&) = delete;
  OriginFetch& operator=(const OriginFetch&) = delete;
  /// After OnBody() said false: goes on in this turn of the loop or the next.
  void Resume();
  /// Another sink gets what follows.
  void SetSink(OriginSink* sink);

 private:
  friend class OriginClient;
  class Transfer;
  explicit OriginFetch(Transfer* transfer) : transfer_(transfer) {}
  Transfer* transfer_;  ///< null once OnEnd() has been called
};

struct OriginOptions {
  Duration connect_timeout = std::chrono::seconds(5);
  Duration first_byte_timeout = std::chrono::seconds(30);  ///< from the request to the first byte
  Duration stall_timeout = std::chrono::seconds(20);       ///< between bytes, but while paused
  std::string ca_file = {};   ///< certificates to trust in place of the system's; empty: those
  std::size_t idle_max = 64;  ///< connections kept open for further requests
};

/// HTTP client of one worker thread: libcurl's multi interface driven by the worker's event loop.
/// Connections are kept and used again, HTTP/2 is used where an https origin has it. Redirects are
/// followed, five at most, and never from https to http. Content encodings are not asked for, and
/// heads are limited to 64 KiB. Belongs to the loop's thread. Outlives its fetches.
class OriginClient final : private net::EventLoop::Watcher, private net::EventLoop::Timer {
 public:
  static absl::StatusOr<std::unique_ptr<OriginClient>> Create(net::EventLoop* loop,
                                                              OriginOptions options);
  ~OriginClient() override;
  OriginClient(const OriginClient&) = delete;
  OriginClient& operator=(const OriginClient&) = delete;

  std::unique_ptr<OriginFetch> Begin(const OriginRequest& request, OriginSink* sink);

 private:
  friend class OriginFetch;
  using Transfer = OriginFetch::Transfer;
  struct Watched;

  OriginClient(net::EventLoop* loop, OriginOptions options);
  void OnEvents(std::uint32_t events) override;  // deferred: what fetches asked for
  void OnTimer() override;                       // libcurl's own
  /// Has `transfer` looked at in this turn or the next: libcurl must not be called from its
  /// callbacks.
  void Wake(Transfer* transfer);
  void Act(int socket, int events);
  void TakeResults();

  net::EventLoop* const loop_;
  const OriginOptions options_;
  void* multi_ = nullptr;  ///< CURLM
  std::list<std::unique_ptr<Transfer>> transfers_;
  std::vector<Transfer*> woken_;
};

}  // namespace ds::ipc_proxy_cache
