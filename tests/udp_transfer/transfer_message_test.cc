#include "udp_transfer/core/transfer_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "common/base/parse.h"
#include "tests/udp_transfer/hex.h"

namespace ds::udp_transfer {
namespace {

using ::testing::HasSubstr;

OpenMessage File(std::uint64_t size, std::uint32_t number = 0) {
  OpenMessage open;
  open.number = number;
  open.size = size;
  open.mtime_ns = -5;
  open.mode = 0644;
  open.identity.fill(std::byte{0xee});
  open.name = "dir/file";
  return open;
}

OpenMessage Resumed(std::uint64_t size) {
  OpenMessage open = File(size);
  open.resume = true;
  return open;
}

template <typename Message>
std::string Bytes(const Message& message) {
  std::string out;
  AppendTo(&out, message);
  return out;
}

std::string Block(std::string_view bytes) {
  std::string out;
  AppendBlockHead(&out, static_cast<std::uint32_t>(bytes.size()));
  return out.append(bytes);
}

std::string Number(std::uint64_t number, int bytes) {
  std::string out;
  while (bytes-- > 0) out.push_back(static_cast<char>(number >> 8 * bytes));
  return out;
}

/// What a reader says of a stream that comes `piece` bytes at a time, as text; the pieces of a
/// block are put together.
std::string ReadRequests(std::string_view stream, std::size_t piece) {
  RequestReader reader;
  std::string said;
  bool in_block = false;
  const auto say = [&](std::string_view what, std::string_view text) {
    said.append(in_block ? "] " : "").append(what).append(text);
    if (what != "block[") said.append(" ");
    in_block = what == "block[";
  };
  for (std::size_t at = 0; at < stream.size(); at += piece) {
    auto bytes = AsBytes(stream.substr(at, piece));
    for (;;) {
      const RequestReader::Step step = reader.Next(bytes);
      bytes = bytes.subspan(step.consumed);
      if (std::holds_alternative<NeedBytes>(step.event)) {
        EXPECT_TRUE(bytes.empty());
        break;
      }
      if (const auto* open = std::get_if<OpenMessage>(&step.event)) say("open:", open->name);
      if (const auto* from = std::get_if<FromMessage>(&step.event)) {
        say("from:", std::to_string(from->offset));
      }
      if (const auto* block = std::get_if<BlockBytes>(&step.event)) {
        EXPECT_FALSE(block->bytes.empty());
        if (!in_block) say("block[", "");
        said.append(reinterpret_cast<const char*>(block->bytes.data()), block->bytes.size());
      }
      if (const auto* end = std::get_if<EndMessage>(&step.event)) say("end:", end->digest);
      if (const auto* abort = std::get_if<AbortMessage>(&step.event)) say("abort:", abort->text);
      if (const auto* malformed = std::get_if<Malformed>(&step.event)) {
        say("malformed:", malformed->why);
        return said;
      }
    }
  }
  if (in_block) said += "] ";
  return said + (reader.at_end() ? "." : "open");
}

std::string ReadReplies(std::string_view stream, std::size_t piece) {
  ReplyReader reader;
  std::string said;
  for (std::size_t at = 0; at < stream.size(); at += piece) {
    auto bytes = AsBytes(stream.substr(at, piece));
    for (;;) {
      const ReplyReader::Step step = reader.Next(bytes);
      bytes = bytes.subspan(step.consumed);
      if (std::holds_alternative<NeedBytes>(step.event)) break;
      if (const auto* start = std::get_if<StartMessage>(&step.event)) {
        said += "start " + std::to_string(start->number) + " " + std::to_string(start->offset) +
                " " + start->digest + " ";
      }
      if (const auto* done = std::get_if<DoneMessage>(&step.event)) {
        said += "done " + std::to_string(done->number) + " " +
                std::to_string(static_cast<int>(done->outcome)) + " " + done->text + " ";
      }
      if (const auto* malformed = std::get_if<Malformed>(&step.event)) {
        return said.append("malformed:").append(malformed->why);
      }
    }
  }
  return said + (reader.at_end() ? "." : "open");
}

const std::string kDigest = "0123456789abcdef";

TEST(TransferMessageTest, IsWrittenAsTheDocumentSays) {
  OpenMessage open = Resumed(0x0102030405060708);
  open.number = 9;
  EXPECT_EQ(ToHex(Bytes(open)),
            "4f"
            "00000009"
            "00"
            "01"
            "0102030405060708"
            "fffffffffffffffb"
            "000001a4"
            "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
            "0008" +
                ToHex("dir/file"));
  open.kind = EntryKind::kFolder;
  open.resume = false;
  EXPECT_EQ(ToHex(Bytes(open)).substr(10, 4), "0100");
  EXPECT_EQ(ToHex(Bytes(FromMessage{0x1122})), "460000000000001122");
  EXPECT_EQ(ToHex(Block("abc")), "4200000003616263");
  EXPECT_EQ(Bytes(EndMessage{kDigest}), "E\x10" + kDigest);
  EXPECT_EQ(Bytes(AbortMessage{"why"}), std::string("X\0\3why", 6));
  EXPECT_EQ(Bytes(StartMessage{7, 0x55, kDigest}),
            std::string("S\0\0\0\7\0\0\0\0\0\0\0\x55\x10", 14) + kDigest);
  EXPECT_EQ(Bytes(DoneMessage{7, Outcome::kCorrupt, "x"}), std::string("D\0\0\0\7\3\0\1x", 9));
}

TEST(TransferMessageTest, OpenIsReadAsItWasWritten) {
  for (OpenMessage open : {File(0), File(kFileBytesMax), Resumed(1)}) {
    open.mtime_ns = std::numeric_limits<std::int64_t>::min();
    open.mode = 07777;
    open.name = std::string(4096, '\xff');
    const std::string bytes = Bytes(open);
    RequestReader reader;
    const auto step = reader.Next(AsBytes(bytes));
    EXPECT_EQ(step.consumed, bytes.size());
    ASSERT_TRUE(std::holds_alternative<OpenMessage>(step.event));
    EXPECT_EQ(std::get<OpenMessage>(step.event), open);
  }
}

TEST(TransferMessageTest, AStreamMayBeCutAnywhere) {
  OpenMessage folder = File(0, 1);
  folder.kind = EntryKind::kFolder;
  OpenMessage resumed = Resumed(10);
  resumed.number = 2;
  const std::string requests =
      Bytes(File(5)) + Block("ab") + Block("cde") + Bytes(EndMessage{kDigest}) + Bytes(folder) +
      Bytes(resumed) + Bytes(FromMessage{4}) + Block("XBEFO!") +
      Bytes(EndMessage{kDigest + kDigest}) + Bytes(File(1, 3)) + Bytes(AbortMessage{"changed"}) +
      Bytes(File(0, 4)) + Bytes(EndMessage{kDigest});
  const std::string replies = Bytes(StartMessage{2, 0, ""}) + Bytes(StartMessage{3, 4, kDigest}) +
                              Bytes(DoneMessage{0, Outcome::kStored, "name.1"}) +
                              Bytes(DoneMessage{1, Outcome::kReplaced, ""});
  for (std::size_t piece = 1; piece <= requests.size(); ++piece) {
    // Blocks are put together again: the reader may not say where one ended.
    ASSERT_EQ(ReadRequests(requests, piece),
              "open:dir/file block[abcde] end:" + kDigest + " open:dir/file open:dir/file from:4 " +
                  "block[XBEFO!] end:" + kDigest + kDigest + " open:dir/file abort:changed " +
                  "open:dir/file end:" + kDigest + " .")
        << piece;
    ASSERT_EQ(ReadReplies(replies, piece),
              "start 2 0  start 3 4 " + kDigest + " done 0 0 name.1 done 1 5  .")
        << piece;
  }
}

TEST(TransferMessageTest, ContentIsNotCopied) {
  RequestReader reader;
  const std::string stream = Bytes(File(1000)) + Block(std::string(1000, 'c'));
  auto step = reader.Next(AsBytes(stream));
  const auto rest = AsBytes(stream).subspan(step.consumed);
  step = reader.Next(rest.first(105));
  ASSERT_TRUE(std::holds_alternative<BlockBytes>(step.event));
  EXPECT_EQ(std::get<BlockBytes>(step.event).bytes.data(), rest.data() + 5);
  EXPECT_EQ(std::get<BlockBytes>(step.event).bytes.size(), 100U);
}

TEST(TransferMessageTest, TheEndOfTheStreamIsKnownToBeEarly) {
  EXPECT_TRUE(RequestReader().at_end());
  const std::string stream = Bytes(File(2)) + Block("ab") + Bytes(EndMessage{kDigest});
  for (std::size_t cut = 1; cut < stream.size(); ++cut) {
    EXPECT_THAT(ReadRequests(stream.substr(0, cut), 100), ::testing::EndsWith("open")) << cut;
  }
  EXPECT_EQ(ReadReplies(Bytes(StartMessage{0, 1, kDigest}).substr(0, 20), 100), "open");
}

TEST(TransferMessageTest, LongTextsAreCut) {
  const std::string text(100'000, 't');
  EXPECT_EQ(ReadRequests(Bytes(File(1)) + Bytes(AbortMessage{text}), 1000),
            "open:dir/file abort:" + text.substr(0, kTextBytesMax) + " .");
  EXPECT_EQ(ReadReplies(Bytes(DoneMessage{0, Outcome::kFailed, text}), 1000),
            "done 0 2 " + text.substr(0, kTextBytesMax) + " .");
}

TEST(TransferMessageTest, MalformedRequestsAreRefusedHoweverTheyAreCut) {
  const std::string open = Bytes(File(5));
  const auto changed = [&](std::size_t at, std::string_view bytes) {
    std::string stream = open;
    return stream.replace(at, bytes.size(), bytes);
  };
  const struct {
    std::string stream;
    std::string why;
  } kCases[] = {
      {"x", "expected a file to begin"},
      {std::string(1, '\0'), "expected a file to begin"},
      {Bytes(EndMessage{kDigest}), "expected a file to begin"},
      {Block("a"), "expected a file to begin"},
      {Bytes(AbortMessage{""}), "expected a file to begin"},
      {Bytes(FromMessage{0}), "expected a file to begin"},
      {Bytes(File(5, 1)), "do not count up"},
      {Bytes(File(0)) + Bytes(EndMessage{kDigest}) + Bytes(File(0)), "do not count up"},
      {changed(5, "\2"), "neither a file nor a folder"},
      {changed(6, "\2"), "an unknown flag"},
      {changed(6, "\xff"), "an unknown flag"},
      {changed(7, "\x80"), "a size is too large"},
      {changed(23, Number(010000, 4)), "a mode is no permissions"},
      {changed(5, "\1"), "a folder has content"},
      {changed(5, std::string("\1\1\0\0\0\0\0\0\0\0", 10)), "a folder has content"},
      {changed(43, Number(4097, 2)), "a name is too long"},
      {changed(43, Number(65535, 2)), "a name is too long"},
      {open + open, "expected content"},
      {open + Bytes(FromMessage{0}), "expected content"},
      {open + Block("abcdef"), "longer than announced"},
      {open + Block("abcde") + Block("f"), "longer than announced"},
      {open + "B" + Number(0xffffffff, 4), "longer than announced"},
      {open + "B" + Number(0, 4), "a block is empty"},
      {open + Bytes(EndMessage{kDigest}), "shorter than announced"},
      {open + Block("abcd") + Bytes(EndMessage{kDigest}), "shorter than announced"},
      {open + Block("abcde") + "E" + Number(0, 1), "a wrong length"},
      {open + Block("abcde") + "E" + Number(17, 1), "a wrong length"},
      {open + Block("abcde") + "E" + Number(255, 1), "a wrong length"},
      {open + "X" + Number(kTextBytesMax + 1, 2), "too long"},
      {Bytes(Resumed(5)) + Block("abcde"), "expected where the file goes on"},
      {Bytes(Resumed(5)) + Bytes(FromMessage{6}), "behind its end"},
      {Bytes(Resumed(5)) + "F" + std::string(8, '\xff'), "behind its end"},
      {Bytes(Resumed(5)) + Bytes(FromMessage{1}) + Block("abcde"), "longer than announced"},
      {Bytes(Resumed(5)) + Bytes(FromMessage{1}) + Bytes(FromMessage{1}), "expected content"},
  };
  for (const auto& c : kCases) {
    const std::string whole = ReadRequests(c.stream, c.stream.size());
    EXPECT_THAT(whole, HasSubstr("malformed:")) << EscapeBytes(c.stream);
    EXPECT_THAT(whole, HasSubstr(c.why)) << EscapeBytes(c.stream);
    EXPECT_EQ(ReadRequests(c.stream, 1), whole);
  }
}

TEST(TransferMessageTest, MalformedRepliesAreRefusedHoweverTheyAreCut) {
  const struct {
    std::string stream;
    std::string why;
  } kCases[] = {
      {"x", "malformed:an unknown answer"},
      {Bytes(StartMessage{0, 0, kDigest}), "malformed:a digest of nothing"},
      {Bytes(StartMessage{0, 1, ""}), "malformed:a digest of nothing"},
      {Bytes(StartMessage{0, 1, "short"}), "malformed:a digest has a wrong length"},
      {"S" + Number(0, 4) + Number(1, 8) + "\xff", "malformed:a digest has a wrong length"},
      {"D" + Number(0, 4) + "\6" + Number(0, 2), "malformed:an unknown outcome"},
      {"D" + Number(0, 4) + Number(1, 1) + Number(kTextBytesMax + 1, 2),
       "malformed:the text of an answer is too long"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(ReadReplies(c.stream, c.stream.size()), HasSubstr(c.why));
    EXPECT_THAT(ReadReplies(c.stream, 1), HasSubstr(c.why));
  }
}

TEST(TransferMessageTest, NothingIsReadBehindAnError) {
  RequestReader reader;
  const std::string good = Bytes(File(0));
  ASSERT_TRUE(std::holds_alternative<Malformed>(reader.Next(AsBytes("x")).event));
  EXPECT_TRUE(std::holds_alternative<Malformed>(reader.Next(AsBytes(good)).event));
  EXPECT_FALSE(reader.at_end());
  ReplyReader replies;
  ASSERT_TRUE(std::holds_alternative<Malformed>(replies.Next(AsBytes("x")).event));
  EXPECT_TRUE(std::holds_alternative<Malformed>(replies.Next(AsBytes("D")).event));
  EXPECT_FALSE(replies.at_end());
}

}  // namespace
}  // namespace ds::udp_transfer
