#include "compute/core/reliable_message.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>

#include "common/base/big_endian.h"
#include "common/base/check.h"

namespace ds::compute {
namespace {

constexpr std::string_view kMagic = "DSCQ";
constexpr std::size_t kTagBytes = 8;

/// The byte that says which message it is; in the order of the variant.
enum Type : char {
  kRequest = 1,
  kAnswer = 2,
  kReady = 3,
  kWork = 4,
  kResult = 5,
  kHeartbeat = 6,
  kDisconnect = 7,
  kVersion = 8,
};

std::string TagBytes(std::uint64_t tag) {
  std::string bytes;
  AppendU64(&bytes, tag);
  return bytes;
}

std::string StatusByte(AnswerStatus status) { return std::string(1, static_cast<char>(status)); }

void Append(Frames& frames, const RequestMessage& m) {
  CHECK(m.id.size() == kRequestIdBytes && m.service.size() <= kServiceBytesMax &&
        !m.service.empty() && m.body.size() <= kBodyBytesMax);
  frames.insert(frames.end(), {m.id, m.service, m.body});
}
void Append(Frames& frames, const AnswerMessage& m) {
  frames.insert(frames.end(), {m.id, StatusByte(m.status), m.body});
}
void Append(Frames& frames, const ReadyMessage& m) {
  CHECK(m.service.size() <= kServiceBytesMax && !m.service.empty() && m.capacity > 0);
  frames.insert(frames.end(), {m.service, std::string(1, static_cast<char>(m.capacity))});
}
void Append(Frames& frames, const WorkMessage& m) {
  frames.insert(frames.end(), {TagBytes(m.tag), m.body});
}
void Append(Frames& frames, const ResultMessage& m) {
  frames.insert(frames.end(), {TagBytes(m.tag), StatusByte(m.status), m.body});
}
void Append(Frames& /*frames*/, const HeartbeatMessage& /*m*/) {}
void Append(Frames& /*frames*/, const DisconnectMessage& /*m*/) {}
void Append(Frames& /*frames*/, const VersionMessage& /*m*/) {}

/// The fields of a message, taken one after the other; each keeps to a limit or all is refused.
class Fields {
 public:
  explicit Fields(const Frames& frames) : frames_(frames) {}

  std::string Bytes(std::size_t min, std::size_t max) {
    if (next_ == frames_.size() || frames_[next_].size() < min || frames_[next_].size() > max) {
      good_ = false;
      return {};
    }
    return frames_[next_++];
  }
  std::uint8_t Byte() {
    const std::string byte = Bytes(1, 1);
    return byte.empty() ? 0 : static_cast<std::uint8_t>(byte[0]);
  }
  std::uint64_t Tag() {
    const std::string bytes = Bytes(kTagBytes, kTagBytes);
    return BigEndianReader(bytes).U64().value_or(0);
  }
  AnswerStatus Status(AnswerStatus max) {
    const std::uint8_t byte = Byte();
    good_ &= byte <= static_cast<std::uint8_t>(max);
    return static_cast<AnswerStatus>(byte);
  }
  void Require(bool condition) { good_ &= condition; }
  /// Everything was there, and nothing is left.
  bool Good() const { return good_ && next_ == frames_.size(); }

 private:
  const Frames& frames_;
  std::size_t next_ = 2;
  bool good_ = true;
};

std::optional<ReliableMessage> DecodeFields(char type, Fields& fields) {
  // Braces: in order, from left to right.
  switch (type) {
    case kRequest:
      return RequestMessage{fields.Bytes(kRequestIdBytes, kRequestIdBytes),
                            fields.Bytes(1, kServiceBytesMax), fields.Bytes(0, kBodyBytesMax)};
    case kAnswer:
      return AnswerMessage{fields.Bytes(kRequestIdBytes, kRequestIdBytes),
                           fields.Status(AnswerStatus::kBusy), fields.Bytes(0, kBodyBytesMax)};
    case kReady: {
      ReadyMessage ready{fields.Bytes(1, kServiceBytesMax), fields.Byte()};
      fields.Require(ready.capacity > 0);
      return ready;
    }
    case kWork:
      return WorkMessage{fields.Tag(), fields.Bytes(0, kBodyBytesMax)};
    case kResult:
      return ResultMessage{fields.Tag(), fields.Status(AnswerStatus::kWrong),
                           fields.Bytes(0, kBodyBytesMax)};
    case kHeartbeat:
      return HeartbeatMessage{};
    case kDisconnect:
      return DisconnectMessage{};
    case kVersion:
      return VersionMessage{};
    default:
      return std::nullopt;
  }
}

}  // namespace

Frames EncodeReliable(const ReliableMessage& message) {
  Frames frames = {std::string(kMagic) + static_cast<char>(kReliableVersion),
                   std::string(1, static_cast<char>(kRequest + message.index()))};
  std::visit([&](const auto& fields) { Append(frames, fields); }, message);
  return frames;
}

absl::StatusOr<ReliableMessage> DecodeReliable(const Frames& frames) {
  if (frames.empty() || frames[0].size() != kMagic.size() + 1 || !frames[0].starts_with(kMagic)) {
    return InvalidArgument("decode: not a message of the reliable service");
  }
  if (const auto version = static_cast<std::uint8_t>(frames[0].back());
      version != kReliableVersion) {
    return Error(
        absl::StatusCode::kUnimplemented,
        fmt::format("decode: version {} (version {} is spoken here)", version, kReliableVersion));
  }
  if (frames.size() < 2 || frames[1].size() != 1) return InvalidArgument("decode: no type");
  Fields fields(frames);
  auto message = DecodeFields(frames[1][0], fields);
  if (!message) return InvalidArgument("decode: unknown type");
  if (!fields.Good()) return InvalidArgument("decode: wrong fields");
  return *std::move(message);
}

}  // namespace ds::compute
