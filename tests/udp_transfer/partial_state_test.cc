#include "udp_transfer/server/partial_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/udp_transfer/hex.h"
#include "udp_transfer/seal/file_digest.h"

namespace ds::udp_transfer {
namespace {

using ::testing::HasSubstr;

PartialState State() {
  PartialState state;
  state.name = "dir/name";
  state.size = 1'000'000;
  state.identity.fill(std::byte{7});
  state.durable_bytes = 999;
  state.digest = "0123456789abcdef";
  return state;
}

/// With a right checksum.
std::string Checked(std::string bytes) {
  FileDigest digest{DigestKey()};
  digest.Update(AsBytes(bytes));
  return bytes + digest.Value();
}

TEST(PartialStateTest, IsReadAsItWasWritten) {
  for (PartialState state : {State(), PartialState{"n", 0, {}, 0, std::string(16, '\0')}}) {
    EXPECT_EQ(PartialState::Parse(state.Encode()).value(), state);
    state.name = std::string(200, 'n') + "/" + std::string(200, '\xff');
    state.durable_bytes = state.size;
    EXPECT_EQ(PartialState::Parse(state.Encode()).value(), state);
  }
}

TEST(PartialStateTest, EveryBitCountsAndEveryCutIsFound) {
  const std::string bytes = State().Encode();
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string changed = bytes;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(PartialState::Parse(changed).ok()) << bit;
  }
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(PartialState::Parse(bytes.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(PartialState::Parse(bytes + "x").ok());
}

TEST(PartialStateTest, WhatCannotBeIsRefusedThoughItsChecksumIsRight) {
  const std::string whole = State().Encode();
  const std::string bytes = whole.substr(0, whole.size() - 16);
  const auto changed = [&](std::size_t at, std::string_view with) {
    return Checked(std::string(bytes).replace(at, with.size(), with));
  };
  const struct {
    std::string bytes;
    std::string why;
  } kCases[] = {
      {changed(0, "x"), "no magic"},
      {changed(33, std::string(7, '\xff')), "more than the whole file"},
      {changed(57, std::string("\0\7", 2)), "length of the name"},
      {changed(57, std::string("\0\11", 2)), "length of the name"},
      {changed(59, "../"), "bad name"},
      {changed(8, std::string(1, '\0')), "unknown version"},
      {Checked("dsudpart\1"), "too short"},
  };
  ASSERT_TRUE(PartialState::Parse(Checked(bytes)).ok());
  for (const auto& c : kCases) {
    const auto state = PartialState::Parse(c.bytes);
    EXPECT_TRUE(absl::IsDataLoss(state.status())) << c.why;
    EXPECT_THAT(Message(state.status()), HasSubstr(c.why));
  }
}

TEST(PartialStateTest, ANewerVersionIsToldFromDamage) {
  std::string bytes = State().Encode();
  bytes[8] = 2;
  EXPECT_TRUE(absl::IsFailedPrecondition(PartialState::Parse(bytes).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(PartialState::Parse(bytes.substr(0, 9)).status()));
}

TEST(PartialStateTest, TheKeyIsOfNameSizeAndIdentity) {
  PartialState name = State();
  name.name += "x";
  PartialState size = State();
  ++size.size;
  PartialState identity = State();
  identity.identity[15] = std::byte{8};
  PartialState progress = State();
  progress.durable_bytes = 5;
  progress.digest[0] = 'x';
  EXPECT_EQ(std::set({State().Key(), name.Key(), size.Key(), identity.Key()}).size(), 4U);
  EXPECT_EQ(progress.Key(), State().Key());
  EXPECT_EQ(State().Key().size(), 32U);
}

}  // namespace
}  // namespace ds::udp_transfer
