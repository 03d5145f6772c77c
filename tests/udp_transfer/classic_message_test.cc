#include "udp_transfer/core/classic_message.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

namespace ds::udp_transfer {
namespace {

using namespace std::string_literals;

std::optional<ClassicMessage> Parse(std::string_view text) {
  return ParseClassic(std::as_bytes(std::span(text)));
}

template <typename Message>
std::string Format(const Message& message) {
  std::array<std::byte, 400> out{};
  const std::size_t size = FormatClassic(message, out);
  return {reinterpret_cast<const char*>(out.data()), size};
}

std::string DataHeader(std::uint64_t seqno) {
  std::array<std::byte, 40> out{};
  const std::size_t size = FormatClassicDataHeader(seqno, out);
  return {reinterpret_cast<const char*>(out.data()), size};
}

TEST(ClassicMessageTest, StartsAreReadAndWrittenAsTheTableSays) {
  for (const auto& [text, start] :
       {std::pair{"s | 0 | file.txt | 12"s, ClassicStart{0, "file.txt", 12}},
        std::pair{"s | 9223372036854775807 | a | 18446744073709551615"s,
                  ClassicStart{kSeqno0Max, "a", ~std::uint64_t{0}}},
        std::pair{"s | 7 | a b | 0"s, ClassicStart{7, "a b", 0}},
        // A name may look like a separator, fields or numbers; the last field is the size.
        std::pair{"s | 0 |  |  | 5"s, ClassicStart{0, " | ", 5}},
        std::pair{"s | 0 | a | b | 5"s, ClassicStart{0, "a | b", 5}},
        std::pair{"s | 0 | a | 4 | 5"s, ClassicStart{0, "a | 4", 5}},
        // No name at all is a matter of CheckClassicName(), as is one with a slash or a NUL.
        std::pair{"s | 0 |  | 5"s, ClassicStart{0, "", 5}},
        std::pair{"s | 0 | ../\0 | 5"s, ClassicStart{0, std::string_view("../\0", 4), 5}}}) {
    const auto message = Parse(text);
    ASSERT_TRUE(message && std::holds_alternative<ClassicStart>(*message)) << text;
    EXPECT_EQ(std::get<ClassicStart>(*message), start) << text;
    EXPECT_EQ(Format(start), text);
  }
}

TEST(ClassicMessageTest, AcksAreReadAndWrittenAsTheTableSays) {
  for (const auto& [text, ack] :
       {std::pair{"a | 1 | 1024"s, ClassicAck{1, 1024}}, std::pair{"a | 2"s, ClassicAck{2}},
        std::pair{"a | 0"s, ClassicAck{0}},
        std::pair{"a | 18446744073709551615 | 18446744073709551615"s,
                  ClassicAck{~std::uint64_t{0}, ~std::uint64_t{0}}}}) {
    const auto message = Parse(text);
    ASSERT_TRUE(message && std::holds_alternative<ClassicAck>(*message)) << text;
    EXPECT_EQ(std::get<ClassicAck>(*message), ack) << text;
    EXPECT_EQ(Format(ack), text);
    EXPECT_EQ(ClassicAckBytes(ack), text.size());
    EXPECT_LE(text.size(), kClassicAckBytesMax);
  }
}

TEST(ClassicMessageTest, APayloadIsWhateverFollowsTheSecondSeparator) {
  for (const std::string& payload : {""s, "x"s, " | "s, " |  |  | "s, "a | b"s, " "s, "|"s,
                                     "s | 0 | f | 1"s, "\0\xff\n\0"s, "9 | 9"s}) {
    for (const std::uint64_t seqno : {std::uint64_t{0}, std::uint64_t{9}, ~std::uint64_t{0}}) {
      const std::string text = DataHeader(seqno) + payload;
      const auto message = Parse(text);
      ASSERT_TRUE(message && std::holds_alternative<ClassicData>(*message)) << text;
      const auto& data = std::get<ClassicData>(*message);
      EXPECT_EQ(data.seqno, seqno);
      EXPECT_EQ(
          std::string(reinterpret_cast<const char*>(data.payload.data()), data.payload.size()),
          payload);
    }
  }
}

TEST(ClassicMessageTest, TheDataHeaderGrowsByOneByteWithEachDigit) {
  EXPECT_EQ(DataHeader(1), "d | 1 | ");
  std::uint64_t seqno = 1;
  for (std::size_t digits = 1; digits <= 19; ++digits, seqno *= 10) {
    EXPECT_EQ(ClassicDataHeaderBytes(seqno), 7 + digits);
    EXPECT_EQ(ClassicDataHeaderBytes(seqno - 1 + (digits == 1)), 7 + digits - (digits > 1));
    EXPECT_EQ(DataHeader(seqno).size(), 7 + digits);
  }
  EXPECT_EQ(ClassicDataHeaderBytes(0), 8U);
  EXPECT_EQ(ClassicDataHeaderBytes(~std::uint64_t{0}), 27U);
}

TEST(ClassicMessageTest, LeadingZerosChangeNoNumber) {
  EXPECT_EQ(std::get<ClassicAck>(*Parse("a | 007")), ClassicAck{7});
}

TEST(ClassicMessageTest, WhatIsNoMessageIsRefused) {
  const std::vector<std::string> malformed = {
      // No, unknown or wrong types; the hello is one of these.
      "", "s", "a", "d", " | ", " | 0 | f | 1", "x | 0 | f | 1", "f | 0 | 00", "S | 0 | f | 1",
      "A | 1", "D | 1 | x", "ss | 0 | f | 1", " s | 0 | f | 1", "\0 | 1"s, "1 | d | x",
      // Separators.
      "s|0|f|1", "s |0 | f | 1", "s| 0 | f | 1", "s  | 0 | f | 1", "s |  0 | f | 1", "s\t|\t0\t|",
      "d | 1 |", "d | 1", "d | 1|x", "d | 1 |x", "d|1|x", "a|1", "a |1", "a | 1 |", "a | 1|1024",
      // Numbers.
      "s |  | f | 1", "s | x | f | 1", "s | -1 | f | 1", "s | +1 | f | 1", "s | 1.0 | f | 1",
      "s | 0x1 | f | 1", "s | 1e3 | f | 1", "s | 0 | f | ", "s | 0 | f | x", "s | 0 | f | -1",
      "s | 0 | f | 1 ", "s | 0 | f | 1\n", "s | 0 | f | 1\0"s, "s | 0 | f | 18446744073709551616",
      "s | 9223372036854775808 | f | 1", "s | 18446744073709551616 | f | 1", "a | ", "a | x",
      "a | -1", "a | 1 ", "a | 1\n", "a | 1\0"s, "a | 18446744073709551616", "a |  | 1024",
      "a | 1 | ", "a | 1 | x", "a | 1 | -5", "a | 1 | 18446744073709551616", "d |  | x",
      "d | x | x", "d | -1 | x", "d | 1\0 | x"s, "d | 18446744073709551616 | x",
      // Fields that are missing or too many.
      "s | 0", "s | 0 | f", "s | 0 | f | 1 | ", "s | 0 | f | 1 | x", "a | 1 | 2 | 3",
      "a | 1 | 2 | "};
  for (const std::string& text : malformed) EXPECT_FALSE(Parse(text)) << "'" << text << "'";
}

TEST(ClassicMessageTest, EveryPartOfAMessageIsRefusedOrReadWithoutItsEnd) {
  const std::string text = "s | 0 | f | 12";
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_EQ(Parse(text.substr(0, size)).has_value(), size == text.size() - 1) << size;
  }
}

}  // namespace
}  // namespace ds::udp_transfer
