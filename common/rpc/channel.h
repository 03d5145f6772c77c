#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/rpc/call_counts.h"
#include "common/rpc/tls.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace ds::rpc {

struct ChannelOptions {
  TlsOptions tls{};
  std::size_t message_bytes_max = 4U << 20U;  ///< of one message, either way
  std::chrono::milliseconds backoff_min{20};  ///< between two attempts to connect
  std::chrono::milliseconds backoff_max{500};
  std::chrono::milliseconds connect_timeout{5'000};  ///< of one attempt, TLS included
  std::chrono::milliseconds keepalive_time{20'000};  ///< silence after which a peer is asked
  std::chrono::milliseconds keepalive_timeout{10'000};
  CallCounts* counts = nullptr;  ///< told of every call; outlives the channel
};

/// A channel to HOST:PORT, which connects when it is first used and again whenever it must: by a
/// connection of its own, not through a proxy of the environment. kInvalidArgument: the target or
/// the TLS files cannot be used.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& target,
                                                           const ChannelOptions& options);

/// Tries to connect for at most `timeout`; whether it has succeeded.
bool WaitForConnected(grpc::Channel& channel, Duration timeout);

/// What one call is made with: there is none without a deadline. Made by whoever calls, and lives
/// until the call has ended. Not thread-safe but for Cancel().
class CallContext {
 public:
  /// The deadline is `timeout` from now. REQUIRES: timeout > 0.
  explicit CallContext(Duration timeout);
  ~CallContext();
  CallContext(const CallContext&) = delete;
  CallContext& operator=(const CallContext&) = delete;

  /// For a stub's method.
  grpc::ClientContext* get() { return context_.get(); }

  /// Ends the call as soon as it can be; before it has begun, too. Thread-safe.
  void Cancel();

 private:
  const std::unique_ptr<grpc::ClientContext> context_;
};

/// Cancels a call once `fd` is readable (Tool::interrupt_fd()), from a thread of its own, until it
/// is destroyed. Owned by whoever waits for the call.
class CancelWhenReadable {
 public:
  CancelWhenReadable(int fd, CallContext* call);
  ~CancelWhenReadable();
  CancelWhenReadable(const CancelWhenReadable&) = delete;
  CancelWhenReadable& operator=(const CancelWhenReadable&) = delete;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ds::rpc
