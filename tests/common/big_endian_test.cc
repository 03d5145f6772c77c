#include "common/base/big_endian.h"

#include <gtest/gtest.h>

#include <limits>

namespace ds {
namespace {

TEST(BigEndian, TheMostSignificantByteComesFirst) {
  std::string bytes;
  AppendU8(&bytes, 0xfe);
  AppendU32(&bytes, 0x01020380);
  AppendU64(&bytes, 0xf102030405060708);
  EXPECT_EQ(bytes, std::string("\xfe"
                               "\x01\x02\x03\x80"
                               "\xf1\x02\x03\x04\x05\x06\x07\x08"));
}

TEST(BigEndian, ANumberIsPutInPlace) {
  std::string bytes = "<12345678>";
  PutU64(bytes.data() + 1, 0xf102030405060708);
  EXPECT_EQ(bytes, "<\xf1\x02\x03\x04\x05\x06\x07\x08>");
}

TEST(BigEndian, WhatWasAppendedIsReadInItsOrder) {
  for (const std::uint64_t value :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{0x80}, std::uint64_t{0xffffffff},
        std::uint64_t{1} << 63, std::numeric_limits<std::uint64_t>::max()}) {
    std::string bytes;
    AppendU64(&bytes, value);
    AppendU8(&bytes, static_cast<std::uint8_t>(value));
    AppendU32(&bytes, static_cast<std::uint32_t>(value));
    bytes += "tail";
    BigEndianReader reader(bytes);
    EXPECT_EQ(reader.U64(), value);
    EXPECT_EQ(reader.U8(), static_cast<std::uint8_t>(value));
    EXPECT_EQ(reader.U32(), static_cast<std::uint32_t>(value));
    EXPECT_EQ(reader.Bytes(3), "tai");
    EXPECT_EQ(reader.rest(), "l");
    EXPECT_FALSE(reader.empty());
    EXPECT_EQ(reader.U8(), 'l');
    EXPECT_TRUE(reader.empty());
  }
}

TEST(BigEndian, ANumberThatIsNotThereWholeIsNoneAndNothingIsTaken) {
  BigEndianReader reader("1234567");
  EXPECT_EQ(reader.U64(), std::nullopt);
  EXPECT_EQ(reader.Bytes(8), std::nullopt);
  EXPECT_EQ(reader.rest(), "1234567");
  EXPECT_TRUE(reader.U32());
  EXPECT_EQ(reader.U32(), std::nullopt);
  EXPECT_EQ(reader.rest(), "567");
}

TEST(BigEndian, ALengthBeyondEverythingIsNone) {
  BigEndianReader reader("1234567");
  EXPECT_EQ(reader.Bytes(std::numeric_limits<std::uint64_t>::max()), std::nullopt);
  EXPECT_EQ(reader.rest().size(), 7U);
}

TEST(BigEndian, OfNothingOnlyNothingCanBeTaken) {
  BigEndianReader reader("");
  EXPECT_TRUE(reader.empty());
  EXPECT_EQ(reader.U8(), std::nullopt);
  EXPECT_EQ(reader.Bytes(0), "");
}

}  // namespace
}  // namespace ds
