#include "compute/core/reliable_message.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ds::compute {
namespace {

const std::string kHead = "DSCQ\1";
const std::string kId = "0123456789abcdef";
const std::string kTag("\0\0\0\0\0\0\1\2", 8);

std::string Byte(int byte) { return std::string(1, static_cast<char>(byte)); }

TEST(ReliableMessageTest, FramesAreAsDocumented) {
  EXPECT_EQ(EncodeReliable(RequestMessage{kId, "gcd", "12 18"}),
            (Frames{kHead, Byte(1), kId, "gcd", "12 18"}));
  EXPECT_EQ(EncodeReliable(AnswerMessage{kId, AnswerStatus::kBusy, "b"}),
            (Frames{kHead, Byte(2), kId, Byte(5), "b"}));
  EXPECT_EQ(EncodeReliable(ReadyMessage{"gcd", 255}), (Frames{kHead, Byte(3), "gcd", Byte(255)}));
  EXPECT_EQ(EncodeReliable(WorkMessage{258, "b"}), (Frames{kHead, Byte(4), kTag, "b"}));
  EXPECT_EQ(EncodeReliable(ResultMessage{258, AnswerStatus::kWrong, ""}),
            (Frames{kHead, Byte(5), kTag, Byte(1), ""}));
  EXPECT_EQ(EncodeReliable(HeartbeatMessage{}), (Frames{kHead, Byte(6)}));
  EXPECT_EQ(EncodeReliable(DisconnectMessage{}), (Frames{kHead, Byte(7)}));
  EXPECT_EQ(EncodeReliable(VersionMessage{}), (Frames{kHead, Byte(8)}));
}

TEST(ReliableMessageTest, WhatIsWrittenCanBeRead) {
  for (const ReliableMessage& message : std::vector<ReliableMessage>{
           RequestMessage{kId, std::string(kServiceBytesMax, 's'), std::string(kBodyBytesMax, 'b')},
           AnswerMessage{kId, AnswerStatus::kWorkersDied, ""}, ReadyMessage{"s", 1},
           WorkMessage{~std::uint64_t{0}, "b"}, ResultMessage{1, AnswerStatus::kDone, "b"},
           HeartbeatMessage{}, DisconnectMessage{}, VersionMessage{}}) {
    const auto again = DecodeReliable(EncodeReliable(message));
    ASSERT_TRUE(again.ok()) << Message(again.status());
    EXPECT_EQ(*again, message);
  }
}

TEST(ReliableMessageTest, MalformedMessagesAreRefused) {
  const std::vector<Frames> malformed = {
      {},
      {""},
      {kHead},
      {"DSCQ", Byte(6)},
      {"MDPC01", Byte(6)},
      {kHead + "x", Byte(6)},
      {kHead, ""},
      {kHead, Byte(0)},
      {kHead, Byte(9)},
      {kHead, Byte(6) + Byte(6)},
      {kHead, Byte(6), ""},
      {kHead, Byte(1), kId, "gcd"},
      {kHead, Byte(1), kId, "gcd", "", ""},
      {kHead, Byte(1), kId + "0", "gcd", ""},
      {kHead, Byte(1), "", "gcd", ""},
      {kHead, Byte(1), kId, "", ""},
      {kHead, Byte(1), kId, std::string(kServiceBytesMax + 1, 's'), ""},
      {kHead, Byte(1), kId, "gcd", std::string(kBodyBytesMax + 1, 'b')},
      {kHead, Byte(2), kId, Byte(6), ""},
      {kHead, Byte(2), kId, "", ""},
      {kHead, Byte(3), "gcd"},
      {kHead, Byte(3), "gcd", Byte(0)},
      {kHead, Byte(3), "gcd", "12"},
      {kHead, Byte(4), kTag.substr(1), ""},
      {kHead, Byte(5), kTag, Byte(2), ""},
      {kHead, Byte(5), kTag, Byte(255), ""},
      {kHead, Byte(5), kTag, Byte(0)},
  };
  for (const Frames& frames : malformed) {
    const auto message = DecodeReliable(frames);
    EXPECT_EQ(message.status().code(), absl::StatusCode::kInvalidArgument)
        << ::testing::PrintToString(frames);
  }
}

TEST(ReliableMessageTest, AnotherVersionIsNotGuessed) {
  EXPECT_EQ(DecodeReliable({"DSCQ\2", Byte(6)}).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(DecodeReliable({"DSCQ\2"}).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace ds::compute
