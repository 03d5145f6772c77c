#include "udp_transfer/core/packet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "common/base/parse.h"

namespace ds::udp_transfer {
namespace {

using ::testing::ElementsAre;

std::vector<std::byte> FromHex(std::string_view digits) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(
        static_cast<std::byte>(std::stoul(std::string(digits.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

std::string Hex(std::span<const std::byte> bytes) {
  return ToHex({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

template <typename Encode>
std::string Encoded(const Encode& encode, std::size_t room = 2000) {
  std::vector<std::byte> bytes(room);
  WireWriter writer(bytes);
  encode(writer);
  return Hex(std::span(bytes).first(writer.written()));
}

std::vector<Interval> All(AckRanges ranges) {
  std::vector<Interval> all;
  while (const auto range = ranges.Next()) all.push_back(*range);
  return all;
}

// RFC 9000, appendix A.1.
TEST(VarintTest, ExamplesOfTheRfc) {
  const struct {
    std::uint64_t value;
    const char* bytes;
  } cases[] = {{151288809941952652U, "c2197c5eff14e88c"},
               {494878333U, "9d7f3e7d"},
               {15293U, "7bbd"},
               {37U, "25"}};
  for (const auto& each : cases) {
    EXPECT_EQ(Encoded([&](WireWriter& writer) { writer.Varint(each.value); }), each.bytes);
    const auto bytes = FromHex(each.bytes);
    WireReader reader(bytes);
    EXPECT_EQ(reader.Varint(), each.value);
    EXPECT_TRUE(reader.ok() && reader.left().empty());
    WireReader cut{std::span(bytes).first(bytes.size() - 1)};
    cut.Varint();
    EXPECT_FALSE(cut.ok());
  }
  const auto longer = FromHex("4025");  // a longer form of 37 is legal
  EXPECT_EQ(WireReader(longer).Varint(), 37U);
}

TEST(PacketHeaderTest, PacketsAndInitialsAreReadBack) {
  PacketHeader header{.connection_id = 0x0102030405060708, .packet_number_low = 0x090A0B0C};
  const auto encode = [&](WireWriter& writer) { EncodeHeader(header, writer); };
  EXPECT_EQ(Encoded(encode), "a00102030405060708090a0b0c");
  EXPECT_EQ(DecodeHeader(FromHex(Encoded(encode))), header);
  EXPECT_EQ(header.size(), kPacketHeaderBytes);

  header.initial.emplace();
  header.initial->client_random.fill(std::byte{0x11});
  header.initial->server_random.fill(std::byte{0x22});
  header.initial->cookie.fill(std::byte{0x33});
  EXPECT_EQ(Encoded(encode), "900102030405060708090a0b0c" + Hex(header.initial->client_random) +
                                 Hex(header.initial->server_random) + Hex(header.initial->cookie));
  EXPECT_EQ(DecodeHeader(FromHex(Encoded(encode))), header);
  EXPECT_EQ(header.size(), kInitialHeaderBytes);
}

TEST(PacketHeaderTest, CutAndForeignHeadersAreRefused) {
  for (const char* type : {"90", "a0"}) {
    const auto whole = FromHex(type + std::string(2 * (kInitialHeaderBytes - 1), '0'));
    const std::size_t size = whole[0] == std::byte{0x90} ? kInitialHeaderBytes : kPacketHeaderBytes;
    EXPECT_TRUE(DecodeHeader(std::span(whole).first(size)).has_value());
    for (std::size_t bytes = 0; bytes < size; ++bytes) {
      EXPECT_EQ(DecodeHeader(std::span(whole).first(bytes)), std::nullopt) << type << " " << bytes;
    }
  }
  for (const char* type : {"00", "66", "80", "91", "a1", "b0", "ff"}) {
    EXPECT_EQ(DecodeHeader(FromHex(type + std::string(200, '0'))), std::nullopt) << type;
  }
}

// RFC 9000, appendix A.3, with numbers of four bytes.
TEST(PacketNumberTest, NearestNumberWithTheseBitsIsTaken) {
  const struct {
    std::uint64_t expected;
    std::uint32_t low;
    std::uint64_t number;
  } cases[] = {
      {0, 0, 0},
      {0, 5, 5},
      {0, 0xffffffff, 0xffffffff},  // there is nothing before the first
      {1000, 999, 999},
      {0xfffffff0, 5, 0x100000005},
      {0x100000005, 0xfffffff0, 0xfffffff0},
      {0x1234500000000, 0xffffffff, 0x12344ffffffff},
      {0x12345ffffffff, 0, 0x1234600000000},
      {kVarintEnd - 2, 0xfffffffe, kVarintEnd - 2},
  };
  for (const auto& each : cases) {
    EXPECT_EQ(ReconstructPacketNumber(each.expected, each.low), each.number)
        << each.expected << " " << each.low;
  }
}

TEST(FrameTest, AckIsReadBack) {
  const std::vector<Interval> received{{0, 1}, {5, 70}, {200, 300}, {301, 1001}};
  const std::string encoded =
      Encoded([&](WireWriter& writer) { EncodeAck(received, 123456, 0x0102030405, writer); });
  EXPECT_EQ(encoded,
            "0200000000000003e80001e240000000010203040504"
            "42bc"      // 700 packets
            "014064"    // 1 missing, 100
            "40824041"  // 130 missing, 65
            "0401");    // 4 missing, 1
  EXPECT_EQ(AckBytes(received), encoded.size() / 2);
  const auto bytes = FromHex(encoded);
  FrameReader reader(bytes);
  const auto frame = reader.Next();
  ASSERT_TRUE(frame && std::holds_alternative<AckFrame>(*frame));
  const auto& ack = std::get<AckFrame>(*frame);
  EXPECT_EQ(ack.largest, 1000U);
  EXPECT_EQ(ack.delay_us, 123456U);
  EXPECT_EQ(ack.stream_limit, 0x0102030405U);
  EXPECT_THAT(All(ack.ranges), ElementsAre(Interval{301, 1001}, Interval{200, 300}, Interval{5, 70},
                                           Interval{0, 1}));
  EXPECT_EQ(reader.Next(), std::nullopt);
  EXPECT_EQ(reader.error(), "");
}

TEST(FrameTest, AckNamesTheNewestRangesThatFit) {
  std::vector<Interval> received;
  for (std::uint64_t i = 0; i < 400; ++i) received.push_back({10 * i, 10 * i + 3});
  for (const std::size_t room : {23U, 24U, 25U, 28U, 100U, 2000U}) {
    const auto bytes =
        FromHex(Encoded([&](WireWriter& writer) { EncodeAck(received, 0, 0, writer); }, room));
    EXPECT_LE(bytes.size(), room);
    FrameReader reader(bytes);
    const auto frame = reader.Next();
    ASSERT_TRUE(frame.has_value()) << room;
    const auto ranges = All(std::get<AckFrame>(*frame).ranges);
    EXPECT_EQ(ranges.size(), std::min<std::size_t>(255, (room - 23) / 2 + 1));
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      EXPECT_EQ(ranges[i], received[received.size() - 1 - i]);
    }
  }
}

TEST(FrameTest, FramesFollowOneAnother) {
  const auto bytes = FromHex(Encoded([](WireWriter& writer) {
    writer.Number(0, 3);  // padding
    EncodePing(writer);
    EncodeAck(std::vector<Interval>{{7, 8}}, 1, 2, writer);
    writer.Number(0, 1);
    EncodeStreamHeader(0x010203040506, /*end=*/true, writer);
    writer.Number(0x00050102, 4);
  }));
  FrameReader reader(bytes);
  EXPECT_TRUE(std::holds_alternative<PingFrame>(reader.Next().value()));
  EXPECT_EQ(std::get<AckFrame>(reader.Next().value()).largest, 7U);
  const auto stream = std::get<StreamFrame>(reader.Next().value());
  EXPECT_EQ(stream.offset, 0x010203040506U);
  EXPECT_EQ(Hex(stream.payload), "00050102") << "to the end of the packet";
  EXPECT_TRUE(stream.end);
  EXPECT_EQ(reader.Next(), std::nullopt);
  EXPECT_EQ(reader.error(), "");
}

TEST(FrameTest, CloseIsReadBackAndItsTextCutToTheRoom) {
  const auto encode = [](WireWriter& writer) { EncodeClose(9, "why not", writer); };
  EXPECT_EQ(Encoded(encode), "05090007" + Hex(std::as_bytes(std::span("why not", 7))));
  const auto bytes = FromHex(Encoded(encode, 7));
  FrameReader reader(bytes);
  const auto close = std::get<CloseFrame>(reader.Next().value());
  EXPECT_EQ(close.code, 9);
  EXPECT_EQ(close.text, "why");
}

TEST(FrameTest, MalformedFramesAreRefused) {
  const std::string ack = "02000000000000000a000000000000000000000000";
  const struct {
    const char* what;
    std::string frames;
    const char* error;
  } cases[] = {
      {"unknown type", "06", "unknown frame type"},
      {"unknown type after others", "000106", "unknown frame type"},
      {"ack without ranges", ack + "00", "malformed ack frame"},
      {"ack cut before its count", ack, "malformed ack frame"},
      {"ack cut in its header", ack.substr(0, 10), "malformed ack frame"},
      {"ack cut before its only range", ack + "01", "malformed ack frame"},
      {"ack cut in a varint", ack + "0140", "malformed ack frame"},
      {"ack cut before a range", ack + "020101", "malformed ack frame"},
      {"empty range", ack + "0100", "malformed ack frame"},
      {"no gap", ack + "02010001", "malformed ack frame"},
      {"range below zero", ack + "010c", "malformed ack frame"},
      {"gap below zero", ack + "02010b01", "malformed ack frame"},
      {"second range below zero", ack + "02010a02", "malformed ack frame"},
      {"largest range length", ack + "01ffffffffffffffff", "malformed ack frame"},
      {"packet number beyond the end",
       "024000000000000000000000000000000000000000"
       "0101",
       "malformed ack frame"},
      {"stream limit beyond the end",
       "02000000000000000a000000000001000000000001"
       "0101",
       "malformed ack frame"},
      {"stream cut in its offset", "0300000000", "malformed stream frame"},
      {"stream without payload or end", "03000000000000", "malformed stream frame"},
      {"stream beyond the last offset", "03ffffffffffff0000", "malformed stream frame"},
      {"close cut in its header", "0501", "malformed close frame"},
      {"close cut in its text", "0501000361", "malformed close frame"},
  };
  for (const auto& each : cases) {
    const auto bytes = FromHex(each.frames);
    FrameReader reader(bytes);
    while (reader.Next()) {
    }
    EXPECT_EQ(reader.error(), each.error) << each.what;
    EXPECT_EQ(reader.Next(), std::nullopt) << each.what;
  }
}

TEST(FrameTest, LimitsOfTheWireFormatAreLegal) {
  for (const char* frames : {"", "000000",
                             "02000000000000000a0000000000010000000000000"
                             "10b",
                             "023fffffffffffffff00000000000000000000000001"
                             "01",
                             "03ffffffffffff00", "04ffffffffffff", "05ff0000"}) {
    const auto bytes = FromHex(frames);
    FrameReader reader(bytes);
    while (reader.Next()) {
    }
    EXPECT_EQ(reader.error(), "") << frames;
  }
}

}  // namespace
}  // namespace ds::udp_transfer
