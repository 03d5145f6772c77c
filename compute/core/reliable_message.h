#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/base/status.h"

namespace ds::compute {

// The messages of the reliable service, after the ideas of the Majordomo protocol (ZeroMQ RFC 7 and
// RFC 18), each a ZeroMQ message of several frames: "DSCQ" and a byte with the version; a byte with
// the type; the fields, a frame each. ARCHITECTURE.md has them byte by byte.

using Frames = std::vector<std::string>;

inline constexpr std::uint8_t kReliableVersion = 1;
inline constexpr std::size_t kRequestIdBytes = 16;
inline constexpr std::size_t kServiceBytesMax = 64;
inline constexpr std::size_t kBodyBytesMax = 4096;
inline constexpr std::uint8_t kWorkerCapacityMax = 255;

/// What became of a request.
enum class AnswerStatus : std::uint8_t {
  kDone = 0,         ///< the body is the answer
  kWrong = 1,        ///< the worker refuses it: the body says why
  kNoWorker = 2,     ///< no worker for the service came in time
  kTimedOut = 3,     ///< a worker had it and did not answer in time
  kWorkersDied = 4,  ///< as many workers as may try died over it
  kBusy = 5,         ///< the broker's queue is full; it may be asked again
};

/// Client to broker: an answer is wanted. Sent again with the same id until there is one.
struct RequestMessage {
  std::string id;  ///< kRequestIdBytes, the same for every repetition and for nothing else
  std::string service;
  std::string body;
  friend bool operator==(const RequestMessage&, const RequestMessage&) = default;
};

/// Broker to client.
struct AnswerMessage {
  std::string id;
  AnswerStatus status = AnswerStatus::kDone;
  std::string body;  ///< the answer, or what went wrong, for people
  friend bool operator==(const AnswerMessage&, const AnswerMessage&) = default;
};

/// Worker to broker: there, for requests to this service, so many at a time.
struct ReadyMessage {
  std::string service;
  std::uint8_t capacity = 1;  ///< at least 1
  friend bool operator==(const ReadyMessage&, const ReadyMessage&) = default;
};

/// Broker to worker.
struct WorkMessage {
  std::uint64_t tag = 0;  ///< names the request between this broker and this worker
  std::string body;
  friend bool operator==(const WorkMessage&, const WorkMessage&) = default;
};

/// Worker to broker.
struct ResultMessage {
  std::uint64_t tag = 0;
  AnswerStatus status = AnswerStatus::kDone;  ///< kDone or kWrong
  std::string body;
  friend bool operator==(const ResultMessage&, const ResultMessage&) = default;
};

/// Both ways: still there. The broker also answers READY with it.
struct HeartbeatMessage {
  friend bool operator==(const HeartbeatMessage&, const HeartbeatMessage&) = default;
};

/// Worker to broker: going. Broker to worker: unknown here, say READY (again).
struct DisconnectMessage {
  friend bool operator==(const DisconnectMessage&, const DisconnectMessage&) = default;
};

/// Broker to anyone: what came was of a version that is not spoken here. Never answered.
struct VersionMessage {
  friend bool operator==(const VersionMessage&, const VersionMessage&) = default;
};

using ReliableMessage =
    std::variant<RequestMessage, AnswerMessage, ReadyMessage, WorkMessage, ResultMessage,
                 HeartbeatMessage, DisconnectMessage, VersionMessage>;

/// REQUIRES: the fields keep to their limits.
Frames EncodeReliable(const ReliableMessage& message);

/// kInvalidArgument: not a message of this protocol. kUnimplemented: one of another version.
absl::StatusOr<ReliableMessage> DecodeReliable(const Frames& frames);

}  // namespace ds::compute
