#include "raft/storage/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ds::raft {
namespace {

using namespace std::string_literals;

std::string Bytes(std::initializer_list<std::string_view> parts) {
  std::string bytes;
  for (const std::string_view part : parts) bytes.append(part);
  return bytes;
}

constexpr auto kSegmentStart = static_cast<std::uint8_t>(RecordType::kSegmentStart);
constexpr auto kHardState = static_cast<std::uint8_t>(RecordType::kHardState);
constexpr auto kEntry = static_cast<std::uint8_t>(RecordType::kEntry);
constexpr auto kRestart = static_cast<std::uint8_t>(RecordType::kRestart);

TEST(RecordTest, BytesAreThoseOfTheFormat) {
  EXPECT_EQ(AsView(EncodeHardState({Term(0x0102), NodeId(3)})),
            "\0\0\0\0\0\0\1\2\1\0\0\0\0\0\0\0\3"s);
  EXPECT_EQ(AsView(EncodeHardState({Term(5), std::nullopt})),
            "\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\0\0"s);
  EXPECT_EQ(AsView(EncodePosition({Term(1), LogIndex(~std::uint64_t{0})})),
            "\0\0\0\0\0\0\0\1\xff\xff\xff\xff\xff\xff\xff\xff"s);
  EXPECT_EQ(AsView(EncodeEntryHead({{Term(1), LogIndex(2)}, Entry::Kind::kConfiguration, "x"})),
            "\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2\2"s);
}

TEST(RecordTest, WhatIsEncodedIsDecoded) {
  const HardState states[] = {
      {}, {Term(7), std::nullopt}, {Term(7), NodeId(0)}, {Term(~std::uint64_t{0}), NodeId(9)}};
  const LogPosition position{Term(8), LogIndex(9)};
  for (const HardState& state : states) {
    const auto hard_state = DecodeRecord(kHardState, AsView(EncodeHardState(state)));
    ASSERT_TRUE(hard_state.ok()) << hard_state.status();
    EXPECT_EQ(std::get<HardState>(*hard_state), state);
    const auto start = DecodeRecord(
        kSegmentStart, Bytes({AsView(EncodeHardState(state)), AsView(EncodePosition(position))}));
    ASSERT_TRUE(start.ok()) << start.status();
    EXPECT_EQ(std::get<SegmentStart>(*start), (SegmentStart{state, position}));
  }
  const auto restart = DecodeRecord(kRestart, AsView(EncodePosition(position)));
  ASSERT_TRUE(restart.ok()) << restart.status();
  EXPECT_EQ(std::get<Restart>(*restart), Restart{position});
  for (const std::string& data : {""s, "data"s, std::string(100'000, '\0')}) {
    const Entry entry{position, Entry::Kind::kCommand, data};
    const auto decoded = DecodeRecord(kEntry, Bytes({AsView(EncodeEntryHead(entry)), data}));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(std::get<Entry>(*decoded), entry);
  }
}

TEST(RecordTest, WhatIsNotARecordIsRefused) {
  const std::string state(AsView(EncodeHardState({Term(1), NodeId(2)})));
  const std::string position(AsView(EncodePosition({Term(1), LogIndex(2)})));
  std::string vote_without_flag = state;
  vote_without_flag[8] = 0;
  std::string other_flag = state;
  other_flag[8] = 2;
  struct Case {
    std::uint8_t type;
    std::string payload;
  };
  const Case cases[] = {
      {0, ""},
      {5, ""},
      {255, state},
      {kHardState, ""},
      {kHardState, state.substr(1)},
      {kHardState, state + "x"},
      {kHardState, vote_without_flag},
      {kHardState, other_flag},
      {kSegmentStart, state},
      {kSegmentStart, other_flag + position},
      {kSegmentStart, state + position.substr(1)},
      {kSegmentStart, state + position + "x"},
      {kRestart, ""},
      {kRestart, position.substr(1)},
      {kRestart, position + "x"},
      {kEntry, ""},
      {kEntry, position},                                                            // no kind
      {kEntry, position + "\3"},                                                     // unknown
      {kEntry, std::string(AsView(EncodePosition({Term(1), LogIndex(0)}))) + "\1"},  // index 0
  };
  for (const Case& wrong : cases) {
    const auto record = DecodeRecord(wrong.type, wrong.payload);
    EXPECT_TRUE(absl::IsInvalidArgument(record.status()))
        << int{wrong.type} << " " << wrong.payload.size();
  }
}

}  // namespace
}  // namespace ds::raft
