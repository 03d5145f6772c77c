#include "ipc_proxy_cache/core/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace ds::ipc_proxy_cache {
namespace {

using ::testing::HasSubstr;

constexpr Segment kSegment{.index = 3, .token = 77, .bytes = 4096};
constexpr Place kPlace{.memfd = 9,
                       .record_offset = 640,
                       .flags = 2,
                       .fresh_until_ns = 1'000'000'007,
                       .stale_until_ns = 2'000'000'007,
                       .age_zero_ns = 7};
const Freshness kFreshness{
    .age_zero_ns = 5, .lifetime_ns = 60'000'000'000, .stale_ns = 6, .must_revalidate = true};

/// Each kind of message, with all that it may have and without.
std::vector<Message> Examples() {
  return {
      Hello{.control = false, .name = "proxy worker-0", .segments = 16, .segment_bytes = 65536},
      Hello{.control = true},
      Welcome{.link = 1, .small_max = 262144, .object_max = 33554432},
      Want{.request = 4, .key = "http://origin/a"},
      Found{.request = 4, .place = kPlace},
      Lead{.request = 4, .fill = 5, .term = 1, .stale = kPlace},
      Lead{.request = 4, .fill = 5, .term = 1, .stale = {}},
      Follow{.request = 4, .fill = 5, .term = 2},
      Follow{.request = 0, .fill = 5, .term = 2},
      Passed{.request = 4},
      Begin{.fill = 5, .term = 1, .length = 1 << 30, .freshness = kFreshness, .fields = "x: y"},
      Begin{.fill = 5, .term = 1, .length = 0, .freshness = {}, .fields = ""},
      Begun{.fill = 5, .memfd = 9},
      Insert{.fill = 5, .term = 1, .segment = kSegment, .freshness = kFreshness, .fields = "x: y"},
      Insert{.fill = 5, .term = 1, .segment = {}, .freshness = {}, .fields = ""},
      Data{.fill = 5, .term = 1, .offset = 8192, .segment = kSegment},
      Taken{.segment = 3, .token = 77},
      Progress{.fill = 5},
      Read{.fill = 5},
      End{.fill = 5, .term = 1, .outcome = Outcome::kNegative, .freshness = kFreshness},
      Ended{.fill = 5, .outcome = Outcome::kComplete, .place = kPlace},
      Ended{.fill = 5, .outcome = Outcome::kPass, .place = {}},
      Alive{},
      Promote{.fill = 5, .term = 2, .offset = 12288},
      Leave{.fill = 5},
      FillPurged{.fill = 5},
      Open{.memfd = 9},
      Opened{.memfd = 9, .gone = false},
      Opened{.memfd = 9, .gone = false, .chunk = true},
      Opened{.memfd = 9, .gone = true},
      Released{.memfds = {9, 10, 11}},
      Released{},
      Retired{},
      Hits{.hits = 3, .stale = 1, .passed = 2, .bytes_saved = 99, .hashes = {{1, 2}, {3, 4}}},
      Copy{.memfd = 9,
           .record_offset = 640,
           .part = Part::kRecord,
           .offset = 64,
           .segment = kSegment},
      Copied{.segment = 3, .token = 77, .bytes = 560, .gone = false},
      Purge{.request = 4, .soft = true, .prefix = true, .key = "http://origin/"},
      Purged{.request = 4, .objects = 12},
      Status{.request = 4, .after_link = 0},
      Report{.request = 4,
             .objects = 1,
             .bytes = 2,
             .memory = 3,
             .retired_bytes = 4,
             .hits = 5,
             .misses = 6,
             .coalesced = 7,
             .stale = 8,
             .passed = 9,
             .evicted = 10,
             .bytes_saved = 11,
             .more = true,
             .links = {{.link = 1,
                        .pid = 100,
                        .uid = 1000,
                        .name = "proxy",
                        .retired_bytes = 5,
                        .fills_led = 6},
                       {.link = 2}}},
  };
}

Sender SenderOf(const Message& message) {
  return std::visit([](const auto& alternative) { return alternative.kSender; }, message);
}
Sender Other(Sender sender) { return sender == Sender::kLink ? Sender::kCache : Sender::kLink; }

std::vector<std::byte> Packet(std::string_view bytes) {
  std::vector<std::byte> packet(bytes.size());
  std::transform(bytes.begin(), bytes.end(), packet.begin(),
                 [](char c) { return static_cast<std::byte>(c); });
  return packet;
}
/// `number` in the given width, little endian.
std::string Le(std::uint64_t number, std::size_t width) {
  std::string bytes;
  for (std::size_t i = 0; i < width; ++i) bytes += static_cast<char>(number >> (8 * i));
  return bytes;
}
std::string Framed(std::uint16_t type, const std::string& fields) {
  return Le(type, 2) + Le(kMessageVersion, 2) + Le(8 + fields.size(), 4) + fields;
}

TEST(MessagesTest, EachKindIsThereInTheExamples) {
  std::set<std::size_t> kinds;
  for (const Message& message : Examples()) kinds.insert(message.index());
  EXPECT_EQ(kinds.size(), std::variant_size_v<Message>);
}

TEST(MessagesTest, EachComesBackAsItWas) {
  for (const Message& message : Examples()) {
    const auto packet = EncodeMessage(message);
    const auto decoded = DecodeMessage(packet, SenderOf(message));
    ASSERT_TRUE(decoded.ok()) << message.index() << ds::Message(decoded.status());
    EXPECT_TRUE(*decoded == message) << message.index();
    EXPECT_EQ(EncodeMessage(*decoded), packet) << message.index();
  }
}

TEST(MessagesTest, NoneIsTakenFromTheSideThatMayNotSendIt) {
  for (const Message& message : Examples()) {
    EXPECT_FALSE(DecodeMessage(EncodeMessage(message), Other(SenderOf(message))).ok())
        << message.index();
  }
}

TEST(MessagesTest, NoneIsTakenWithBytesMissingOrLeftOver) {
  for (const Message& message : Examples()) {
    const auto packet = EncodeMessage(message);
    for (std::size_t size = 0; size < packet.size(); ++size) {
      auto cut = std::vector<std::byte>(packet.begin(),
                                        packet.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_FALSE(DecodeMessage(cut, SenderOf(message)).ok()) << message.index() << " " << size;
      if (size < kMessageHeaderBytes) continue;
      cut[4] = static_cast<std::byte>(size);  // the header agrees
      cut[5] = static_cast<std::byte>(size >> 8U);
      EXPECT_FALSE(DecodeMessage(cut, SenderOf(message)).ok()) << message.index() << " " << size;
    }
    auto longer = packet;
    longer.push_back({});
    EXPECT_FALSE(DecodeMessage(longer, SenderOf(message)).ok()) << message.index();
    longer[4] = static_cast<std::byte>(longer.size());
    longer[5] = static_cast<std::byte>(longer.size() >> 8U);
    EXPECT_FALSE(DecodeMessage(longer, SenderOf(message)).ok()) << message.index();
  }
}

TEST(MessagesTest, BytesStandAsDocumented) {
  EXPECT_EQ(EncodeMessage(Want{.request = 0x0102030405060708, .key = "k"}),
            Packet(Framed(3, Le(0x0102030405060708, 8) + Le(1, 4) + "k")));
  EXPECT_EQ(
      EncodeMessage(Data{.fill = 5, .term = 1, .offset = 8192, .segment = kSegment}),
      Packet(Framed(11, Le(5, 8) + Le(1, 8) + Le(8192, 8) + Le(3, 4) + Le(77, 8) + Le(4096, 8))));
  EXPECT_EQ(EncodeMessage(Released{.memfds = {9, 10}}),
            Packet(Framed(21, Le(2, 4) + Le(9, 8) + Le(10, 8))));
  EXPECT_EQ(EncodeMessage(Ended{.fill = 5, .outcome = Outcome::kPass, .place = {}}),
            Packet(Framed(15, Le(5, 8) + Le(4, 1) + Le(0, 1))));
  EXPECT_EQ(EncodeMessage(Alive{}), Packet(Le(16, 2) + Le(2, 2) + Le(8, 4)));
}

TEST(MessagesTest, OneOfAnotherVersionIsRefusedByName) {
  const auto version = [](std::uint64_t number) {
    return Packet(Le(16, 2) + Le(number, 2) + Le(8, 4));
  };
  const auto older = DecodeMessage(version(1), Sender::kLink);
  EXPECT_THAT(ds::Message(older.status()), HasSubstr("version 1, not 2"));
  EXPECT_TRUE(IsOfAnotherVersion(version(1)));
  EXPECT_TRUE(IsOfAnotherVersion(version(3)));
  EXPECT_FALSE(IsOfAnotherVersion(version(2)));
  EXPECT_FALSE(IsOfAnotherVersion(Packet("x")));
}

TEST(MessagesTest, MalformedPacketsAreRefused) {
  const std::string id = Le(5, 8);
  const std::string none = Le(0, 8);
  const std::string freshness = Le(0, 8) + Le(0, 1) + Le(0, 8) + Le(0, 1);
  const auto place = [](std::uint64_t memfd, std::uint64_t offset, std::uint64_t fresh_until) {
    return Le(memfd, 8) + Le(offset, 8) + Le(0, 4) + Le(fresh_until, 8) + Le(0, 8) + Le(0, 8);
  };
  const auto segment = [](std::uint64_t token, std::uint64_t bytes) {
    return Le(3, 4) + Le(token, 8) + Le(bytes, 8);
  };
  const struct {
    const char* what;
    std::string packet;
    bool ok = false;
  } kCases[] = {
      {"nothing", ""},
      {"half a header", Le(16, 2) + Le(kMessageVersion, 2)},
      {"a good one", Framed(16, ""), true},
      {"version 0", Le(16, 2) + Le(0, 2) + Le(8, 4)},
      {"an older version", Le(16, 2) + Le(kMessageVersion - 1, 2) + Le(8, 4)},
      {"a newer version", Le(16, 2) + Le(kMessageVersion + 1, 2) + Le(8, 4)},
      {"version with a high byte", Le(16, 2) + Le(kMessageVersion + 256, 2) + Le(8, 4)},
      {"type 0", Framed(0, "")},
      {"type beyond the last", Framed(31, "")},
      {"type with a high byte", Framed(16 + 256, "")},
      {"length of less", Le(16, 2) + Le(kMessageVersion, 2) + Le(7, 4)},
      {"length of more", Le(16, 2) + Le(kMessageVersion, 2) + Le(9, 4)},
      {"want", Framed(3, id + Le(1, 4) + "k"), true},
      {"want for request 0", Framed(3, none + Le(1, 4) + "k")},
      {"want without a key", Framed(3, id + Le(0, 4))},
      {"want, key longer than the packet", Framed(3, id + Le(2, 4) + "k")},
      {"want, key of 4 GiB", Framed(3, id + Le(0xffffffff, 4) + "k")},
      {"want, longest key", Framed(3, id + Le(kKeyBytesMax, 4) + std::string(kKeyBytesMax, 'k')),
       true},
      {"want, key too long",
       Framed(3, id + Le(kKeyBytesMax + 1, 4) + std::string(kKeyBytesMax + 1, 'k'))},
      {"begin", Framed(8, id + id + Le(kSizeEnd - 1, 8) + freshness + Le(0, 4)), true},
      {"begin, length too large", Framed(8, id + id + Le(kSizeEnd, 8) + freshness + Le(0, 4))},
      {"begin, length of all ones", Framed(8, id + id + Le(UINT64_MAX, 8) + freshness + Le(0, 4))},
      {"begin, fill 0", Framed(8, none + id + Le(1, 8) + freshness + Le(0, 4))},
      {"begin, term 0", Framed(8, id + none + Le(1, 8) + freshness + Le(0, 4))},
      {"begin, age before 0",
       Framed(8, id + id + Le(1, 8) + Le(UINT64_MAX, 8) + freshness.substr(8) + Le(0, 4))},
      {"begin, optional flag of 2",
       Framed(8, id + id + Le(1, 8) + Le(0, 8) + Le(2, 1) + freshness.substr(9) + Le(0, 4))},
      {"begin, flag of 2",
       Framed(8, id + id + Le(1, 8) + freshness.substr(0, 17) + Le(2, 1) + Le(0, 4))},
      {"insert without a segment", Framed(10, id + id + Le(0, 1) + freshness + Le(0, 4)), true},
      {"insert, fields too long",
       Framed(10, id + id + Le(0, 1) + freshness + Le(kFieldsBytesMax + 1, 4) +
                      std::string(kFieldsBytesMax + 1, 'f'))},
      {"data", Framed(11, id + id + none + segment(7, 1)), true},
      {"data of nothing", Framed(11, id + id + none + segment(7, 0))},
      {"data without a token", Framed(11, id + id + none + segment(0, 1))},
      {"data, too many bytes", Framed(11, id + id + none + segment(7, kSizeEnd))},
      {"data at an offset too large", Framed(11, id + id + Le(kSizeEnd, 8) + segment(7, 1))},
      {"end", Framed(14, id + id + Le(4, 1) + freshness + Le(0, 4)), true},
      {"end, no such outcome", Framed(14, id + id + Le(5, 1) + freshness + Le(0, 4))},
      {"released, id 0", Framed(21, Le(1, 4) + none)},
      {"released, count beyond the packet", Framed(21, Le(2, 4) + id)},
      {"released", Framed(21, Le(kIdsMax, 4) + std::string(8 * kIdsMax, '\1')), true},
      {"released, one too many",
       Framed(21, Le(kIdsMax + 1, 4) + std::string(8 * kIdsMax + 8, '\1'))},
      {"released, 2^32 - 1", Framed(21, Le(0xffffffff, 4) + id)},
      {"hits, hashes beyond the packet",
       Framed(23, none + none + none + none + none + Le(1, 4) + Le(1, 8))},
      {"copy", Framed(24, id + Le(64, 8) + Le(1, 1) + none + segment(7, 1)), true},
      {"copy, no such part", Framed(24, id + Le(64, 8) + Le(2, 1) + none + segment(7, 1))},
      {"copy, record not aligned", Framed(24, id + Le(65, 8) + Le(1, 1) + none + segment(7, 1))},
      {"copy, record too far",
       Framed(24, id + Le(1ULL << 38U, 8) + Le(1, 1) + none + segment(7, 1))},
      {"longer than any message", Framed(21, std::string(kMessageBytesMax, '\0'))},
      {"found, which a link never says", Framed(4, id + place(9, 64, 0))},
  };
  for (const auto& c : kCases) {
    const auto decoded = DecodeMessage(Packet(c.packet), Sender::kLink);
    EXPECT_EQ(decoded.ok(), c.ok) << c.what;
    if (!decoded.ok()) {
      EXPECT_EQ(decoded.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(ds::Message(decoded.status()), HasSubstr("message of ")) << c.what;
    }
  }
  const struct {
    const char* what;
    std::string packet;
    bool ok = false;
  } kOfCache[] = {
      {"found", Framed(4, id + place(9, 64, 1)), true},
      {"found nowhere", Framed(4, id + place(0, 64, 1))},
      {"found, record not aligned", Framed(4, id + place(9, 32, 1))},
      {"found, record too far", Framed(4, id + place(9, 1ULL << 38U, 1))},
      {"found, time too late", Framed(4, id + place(9, 64, 1ULL << 62U))},
      {"found, time before 0", Framed(4, id + place(9, 64, 1ULL << 63U))},
      {"follow after a lead", Framed(6, none + id + id), true},
      {"want, which the cache never says", Framed(3, id + Le(1, 4) + "k")},
  };
  for (const auto& c : kOfCache) {
    EXPECT_EQ(DecodeMessage(Packet(c.packet), Sender::kCache).ok(), c.ok) << c.what;
  }
}

TEST(MessagesTest, TheLargestOfEachKindFitIntoAPacket) {
  const std::string fields(kFieldsBytesMax, 'f');
  LinkReport link{.link = 1, .name = std::string(kNameBytesMax, 'n')};
  const std::vector<Message> largest = {
      Want{.request = 1, .key = std::string(kKeyBytesMax, 'k')},
      Purge{.request = 1, .soft = false, .prefix = false, .key = std::string(kKeyBytesMax, 'k')},
      Begin{.fill = 1, .term = 1, .length = 1, .freshness = kFreshness, .fields = fields},
      Insert{.fill = 1, .term = 1, .segment = kSegment, .freshness = kFreshness, .fields = fields},
      End{.fill = 1,
          .term = 1,
          .outcome = Outcome::kNegative,
          .freshness = kFreshness,
          .fields = fields},
      Released{.memfds = std::vector<std::uint64_t>(kIdsMax, 1)},
      Hits{.hashes = std::vector<KeyHash>(kHashesMax)},
      Report{.request = 1, .links = std::vector<LinkReport>(kLinksMax, link)},
  };
  for (const Message& message : largest) {
    const auto packet = EncodeMessage(message);
    EXPECT_LE(packet.size(), kMessageBytesMax) << message.index();
    const auto decoded = DecodeMessage(packet, SenderOf(message));
    ASSERT_TRUE(decoded.ok()) << message.index();
    EXPECT_TRUE(*decoded == message) << message.index();
  }
}

TEST(MessagesTest, DescriptorsTravelWithThePoolTheIndexAndMemfds) {
  EXPECT_EQ(DescriptorsOf(Hello{.segments = 1}), 1U);
  EXPECT_EQ(DescriptorsOf(Hello{.segments = 0}), 0U);
  EXPECT_EQ(DescriptorsOf(Welcome{.link = 1}), 1U);
  EXPECT_EQ(DescriptorsOf(Begun{.fill = 1, .memfd = 1}), 1U);
  EXPECT_EQ(DescriptorsOf(Opened{.memfd = 1, .gone = false}), 1U);
  EXPECT_EQ(DescriptorsOf(Opened{.memfd = 1, .gone = true}), 0U);
  EXPECT_EQ(DescriptorsOf(Want{.request = 1, .key = "k"}), 0U);
  EXPECT_EQ(DescriptorsOf(Alive{}), 0U);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
