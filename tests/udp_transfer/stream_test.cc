#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/rng.h"
#include "udp_transfer/core/receive_stream.h"
#include "udp_transfer/core/send_stream.h"

namespace ds::udp_transfer {
namespace {

using Taken = ReceiveStream::Taken;
using Chunk = SendStream::Chunk;

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string ReadAll(ReceiveStream& stream) {
  std::string all;
  while (!stream.Readable().empty()) {
    all += Text(stream.Readable());
    stream.Consume(stream.Readable().size());
  }
  return all;
}

TEST(ReceiveStreamTest, BytesComeOutInOrder) {
  ReceiveStream stream(100);
  EXPECT_EQ(stream.Insert(5, Bytes("fgh"), false), Taken::kTaken);
  EXPECT_EQ(ReadAll(stream), "");
  EXPECT_EQ(stream.Insert(2, Bytes("cd"), false), Taken::kTaken);
  EXPECT_EQ(stream.Insert(0, Bytes("ab"), false), Taken::kTaken);
  EXPECT_EQ(ReadAll(stream), "abcd");
  EXPECT_EQ(stream.highest(), 8U);
  EXPECT_EQ(stream.Insert(1, Bytes("bcdefg"), true), Taken::kViolation) << "8 bytes are known";
  EXPECT_EQ(stream.Insert(1, Bytes("bcdefghi"), true), Taken::kTaken);
  EXPECT_TRUE(stream.complete());
  EXPECT_FALSE(stream.finished());
  EXPECT_EQ(ReadAll(stream), "efghi");
  EXPECT_TRUE(stream.finished());
}

TEST(ReceiveStreamTest, NothingIsTakenBeyondTheLimit) {
  ReceiveStream stream(4);
  EXPECT_EQ(stream.limit(), 4U);
  EXPECT_EQ(stream.Insert(0, Bytes("abcde"), false), Taken::kNoRoom);
  EXPECT_EQ(stream.Insert(4, Bytes("e"), false), Taken::kNoRoom);
  EXPECT_EQ(stream.highest(), 0U);
  EXPECT_EQ(stream.Insert(0, Bytes("abcd"), false), Taken::kTaken);
  EXPECT_EQ(stream.limit(), 4U) << "received is not consumed";
  stream.Consume(3);
  EXPECT_EQ(stream.limit(), 7U);
  EXPECT_EQ(stream.Insert(4, Bytes("efg"), false), Taken::kTaken);
  EXPECT_EQ(ReadAll(stream), "defg");
}

TEST(ReceiveStreamTest, TheEndOfTheStreamStays) {
  for (const bool early : {false, true}) {
    ReceiveStream stream(100);
    EXPECT_EQ(stream.Insert(early ? 2 : 0, Bytes(early ? "c" : "abc"), true), Taken::kTaken);
    EXPECT_EQ(stream.Insert(3, {}, true), Taken::kTaken) << "said again";
    EXPECT_EQ(stream.Insert(4, {}, true), Taken::kViolation);
    EXPECT_EQ(stream.Insert(2, {}, true), Taken::kViolation);
    EXPECT_EQ(stream.Insert(3, Bytes("d"), false), Taken::kViolation);
    EXPECT_EQ(stream.Insert(0, Bytes("ab"), false), Taken::kTaken);
    EXPECT_EQ(ReadAll(stream), "abc");
  }
  ReceiveStream empty(100);
  EXPECT_FALSE(empty.finished());
  EXPECT_EQ(empty.Insert(0, {}, true), Taken::kTaken);
  EXPECT_TRUE(empty.finished());
}

TEST(ReceiveStreamTest, GapsAreBounded) {
  constexpr std::size_t kCapacity = 1U << 20U;
  ReceiveStream stream(kCapacity);
  std::size_t taken = 0;
  for (std::uint64_t offset = 1; offset < kCapacity; offset += 2) {
    taken += stream.Insert(offset, Bytes("x"), false) == Taken::kTaken;
  }
  EXPECT_EQ(taken, kCapacity / 2048 + 64);
  EXPECT_EQ(stream.Insert(0, Bytes("abc"), false), Taken::kTaken) << "what fills a gap is welcome";
}

TEST(ReceiveStreamTest, ReadableBytesAreNeverTouched) {
  ReceiveStream stream(8);
  EXPECT_EQ(stream.Insert(0, Bytes("abcd"), false), Taken::kTaken);
  const std::span<const std::byte> readable = stream.Readable();
  EXPECT_EQ(stream.Insert(0, Bytes("XXXXefgh"), false), Taken::kTaken);
  EXPECT_EQ(stream.Insert(1, Bytes("YYY"), false), Taken::kTaken);
  EXPECT_EQ(Text(readable), "abcd");
  EXPECT_EQ(ReadAll(stream), "abcdefgh");
}

TEST(SendStreamTest, WhatIsLostIsSentAgainFirst) {
  SendStream stream(100, 1000);
  std::ranges::copy(Bytes("abcdefghij"), stream.Writable().begin());
  stream.Commit(10);
  for (int i = 0; i < 2; ++i) stream.OnSent(*stream.Next(4));
  stream.OnLost(0, 4, false);
  const auto chunk = stream.Next(3);
  ASSERT_TRUE(chunk.has_value());
  EXPECT_EQ(chunk->offset, 0U);
  EXPECT_EQ(chunk->size, 3U);
  EXPECT_TRUE(chunk->again);
  std::vector<std::byte> out(chunk->size);
  stream.Copy(*chunk, out);
  EXPECT_EQ(Text(out), "abc");
  stream.OnSent(*chunk);
  EXPECT_EQ(stream.Next(9)->offset, 3U);
  stream.OnSent(*stream.Next(9));
  EXPECT_EQ(stream.Next(9)->offset, 8U) << "and then new bytes";
  EXPECT_FALSE(stream.Next(9)->again);
}

TEST(SendStreamTest, LateAcknowledgementsStopRepetition) {
  SendStream stream(100, 1000);
  stream.Commit(30);
  for (int i = 0; i < 3; ++i) stream.OnSent(*stream.Next(10));
  for (std::uint64_t i = 0; i < 3; ++i) stream.OnLost(10 * i, 10, false);
  stream.OnAcked(10, 10, false);
  EXPECT_EQ(stream.Next(100)->offset, 0U);
  EXPECT_EQ(stream.Next(100)->size, 10U);
  stream.OnSent(*stream.Next(100));
  EXPECT_EQ(stream.Next(100)->offset, 20U);
  stream.OnLost(0, 30, false);  // a copy of what was acknowledged meanwhile
  EXPECT_EQ(stream.Next(100)->size, 10U);
  stream.OnAcked(0, 30, false);
  EXPECT_EQ(stream.Next(100), std::nullopt);
  EXPECT_EQ(stream.acked(), 30U);
}

TEST(SendStreamTest, ThePeersLimitHoldsNewBytesOnly) {
  SendStream stream(100, 10);
  stream.Commit(30);
  EXPECT_EQ(stream.Next(100)->size, 10U);
  stream.OnSent(*stream.Next(100));
  EXPECT_EQ(stream.Next(100), std::nullopt);
  stream.RaiseLimit(5);  // limits never fall
  stream.OnLost(0, 10, false);
  EXPECT_EQ(stream.Next(100)->size, 10U);
  stream.OnSent(*stream.Next(100));
  stream.RaiseLimit(12);
  EXPECT_EQ(stream.Next(100)->size, 2U);
}

TEST(SendStreamTest, TheEndIsSentUntilItIsAcknowledged) {
  SendStream stream(100, 1000);
  stream.Commit(5);
  stream.OnSent(*stream.Next(100));
  stream.Finish();
  EXPECT_TRUE(stream.Writable().empty());
  auto end = stream.Next(100);
  ASSERT_TRUE(end && end->end && end->size == 0 && end->offset == 5);
  stream.OnSent(*end);
  EXPECT_EQ(stream.Next(100), std::nullopt);
  stream.OnAcked(0, 5, false);
  EXPECT_FALSE(stream.complete());
  stream.OnLost(5, 0, true);
  end = stream.Next(100);
  ASSERT_TRUE(end && end->end && end->again);
  stream.OnSent(*end);
  EXPECT_TRUE(stream.SendOldestAgain(100));
  EXPECT_TRUE(stream.Next(100)->end);
  stream.OnAcked(5, 0, true);
  EXPECT_TRUE(stream.complete());
  EXPECT_EQ(stream.Next(100), std::nullopt);
  EXPECT_FALSE(stream.SendOldestAgain(100));
}

TEST(SendStreamTest, RoomComesBackWithAcknowledgementsInOrder) {
  SendStream stream(10, 1000);
  EXPECT_EQ(stream.Writable().size(), 10U);
  stream.Commit(10);
  EXPECT_TRUE(stream.Writable().empty());
  stream.OnSent(*stream.Next(6));
  stream.OnSent(*stream.Next(6));
  stream.OnAcked(6, 4, false);
  EXPECT_TRUE(stream.Writable().empty());
  stream.OnAcked(0, 6, false);
  EXPECT_EQ(stream.Writable().size(), 10U);
}

/// Both ends over a wire that loses, repeats and reorders chunks, byte by byte against the
/// original.
TEST(StreamTest, RandomSchedulesDeliverTheStream) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Rng rng(seed);
    const std::size_t bytes = rng.Below(3000);
    std::string content(bytes, ' ');
    for (char& c : content) c = static_cast<char>('a' + rng.Below(26));
    ReceiveStream receive(64 + rng.Below(300));
    SendStream send(1 + rng.Below(300), receive.limit());
    struct Flying {
      Chunk chunk;
      std::vector<std::byte> bytes;
    };
    std::vector<Flying> flying;
    std::string arrived;
    int steps = 0;
    for (; !(send.complete() && receive.finished()) && steps < 200'000; ++steps) {
      switch (rng.Below(5)) {
        case 0: {
          const auto out = send.Writable();
          const std::size_t some =
              std::min<std::size_t>({out.size(), bytes - send.written(), rng.Below(50)});
          std::ranges::copy(Bytes(content).subspan(send.written(), some), out.begin());
          send.Commit(some);
          if (send.written() == bytes) send.Finish();
          break;
        }
        case 1:
          if (const auto chunk = send.Next(1 + rng.Below(40))) {
            flying.push_back({*chunk, std::vector<std::byte>(chunk->size)});
            send.Copy(*chunk, flying.back().bytes);
            send.OnSent(*chunk);
          } else if (rng.Bernoulli(0.05)) {
            send.SendOldestAgain(1 + rng.Below(100));
          }
          break;
        case 2:
        case 3: {
          if (flying.empty()) break;
          const std::size_t at = rng.Below(flying.size());
          const Flying one = flying[at];
          const auto& [offset, size, end, again] = one.chunk;
          if (rng.Bernoulli(0.3)) {
            send.OnLost(offset, size, end);
            if (rng.Bernoulli(0.5)) flying.erase(flying.begin() + static_cast<std::ptrdiff_t>(at));
          } else if (receive.Insert(offset, one.bytes, end) == Taken::kTaken) {
            send.OnAcked(offset, size, end);
            if (rng.Bernoulli(0.7)) flying.erase(flying.begin() + static_cast<std::ptrdiff_t>(at));
          }
          break;
        }
        default: {
          const std::size_t some = std::min<std::size_t>(receive.Readable().size(), rng.Below(60));
          arrived += Text(receive.Readable().first(some));
          receive.Consume(some);
          send.RaiseLimit(receive.limit());
        }
      }
    }
    ASSERT_TRUE(send.complete() && receive.finished()) << "seed " << seed;
    ASSERT_EQ(arrived, content) << "seed " << seed;
  }
}

}  // namespace
}  // namespace ds::udp_transfer
