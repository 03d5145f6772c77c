#include "udp_transfer/core/transfer_message.h"

#include <algorithm>

#include "common/base/check.h"
#include "udp_transfer/core/transfer_name.h"
#include "udp_transfer/core/wire.h"

namespace ds::udp_transfer {
namespace {

// Lengths up to and with the length of what is variable.
constexpr std::size_t kOpenHead = 1 + 4 + 1 + 1 + 8 + 8 + 4 + 16 + 2;
constexpr std::size_t kFrom = 1 + 8;
constexpr std::size_t kBlockHead = 1 + 4;
constexpr std::size_t kEndHead = 1 + 1;
constexpr std::size_t kAbortHead = 1 + 2;
constexpr std::size_t kStartHead = 1 + 4 + 8 + 1;
constexpr std::size_t kDoneHead = 1 + 4 + 1 + 2;

bool IsDigestLength(std::size_t length) { return length == 16 || length == 32; }

void AppendText(std::string* out, std::string_view text) {
  text = text.substr(0, kTextBytesMax);
  AppendBigEndian(out, text.size(), 2);
  out->append(text);
}

/// Takes fields off the front of a message that is known to be long enough.
class Fields {
 public:
  explicit Fields(std::string_view text) : text_(text.substr(1)) {}

  std::uint64_t Number(std::size_t bytes) { return TakeBigEndian(&text_, bytes); }
  std::uint8_t Byte() { return static_cast<std::uint8_t>(Number(1)); }
  std::uint32_t Number32() { return static_cast<std::uint32_t>(Number(4)); }
  std::string_view Text(std::size_t bytes) {
    const std::string_view text = text_.substr(0, bytes);
    text_.remove_prefix(bytes);
    return text;
  }

 private:
  std::string_view text_;
};

}  // namespace

void AppendTo(std::string* out, const OpenMessage& message) {
  CHECK(message.name.size() <= kTransferNameBytesMax);
  out->push_back('O');
  AppendBigEndian(out, message.number, 4);
  AppendBigEndian(out, static_cast<std::uint8_t>(message.kind), 1);
  AppendBigEndian(out, message.resume ? 1 : 0, 1);
  AppendBigEndian(out, message.size, 8);
  AppendBigEndian(out, static_cast<std::uint64_t>(message.mtime_ns), 8);
  AppendBigEndian(out, message.mode, 4);
  for (const std::byte byte : message.identity) out->push_back(static_cast<char>(byte));
  AppendBigEndian(out, message.name.size(), 2);
  out->append(message.name);
}

void AppendTo(std::string* out, const FromMessage& message) {
  out->push_back('F');
  AppendBigEndian(out, message.offset, 8);
}

void AppendBlockHead(std::string* out, std::uint32_t length) {
  CHECK(length > 0);
  out->push_back('B');
  AppendBigEndian(out, length, 4);
}

void AppendTo(std::string* out, const EndMessage& message) {
  CHECK(IsDigestLength(message.digest.size()));
  out->push_back('E');
  AppendBigEndian(out, message.digest.size(), 1);
  out->append(message.digest);
}

void AppendTo(std::string* out, const AbortMessage& message) {
  out->push_back('X');
  AppendText(out, message.text);
}

void AppendTo(std::string* out, const StartMessage& message) {
  CHECK(message.digest.size() <= 32);
  out->push_back('S');
  AppendBigEndian(out, message.number, 4);
  AppendBigEndian(out, message.offset, 8);
  AppendBigEndian(out, message.digest.size(), 1);
  out->append(message.digest);
}

void AppendTo(std::string* out, const DoneMessage& message) {
  out->push_back('D');
  AppendBigEndian(out, message.number, 4);
  AppendBigEndian(out, static_cast<std::uint8_t>(message.outcome), 1);
  AppendText(out, message.text);
}

bool MessageHead::Fill(std::span<const std::byte>* bytes, std::size_t size) {
  if (text_.size() < size) {
    const std::size_t taken = std::min(size - text_.size(), bytes->size());
    text_.append(reinterpret_cast<const char*>(bytes->data()), taken);
    *bytes = bytes->subspan(taken);
  }
  return text_.size() >= size;
}

RequestReader::Step RequestReader::Next(std::span<const std::byte> bytes) {
  std::span<const std::byte> rest = bytes;
  Event event;
  if (block_rest_ > 0) {
    const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(block_rest_, rest.size()));
    if (taken > 0) event = BlockBytes{rest.first(taken)};
    block_rest_ -= taken;
    rest = rest.subspan(taken);
  } else {
    event = Parse(&rest);
    if (!std::holds_alternative<NeedBytes>(event)) head_.Clear();
    // The head of a block is no event, its first bytes are.
    if (block_rest_ > 0) {
      const Step step = Next(rest);
      return {bytes.size() - rest.size() + step.consumed, step.event};
    }
  }
  return {bytes.size() - rest.size(), std::move(event)};
}

RequestReader::Event RequestReader::Complain(std::string_view why) {
  expected_ = Expected::kNothing;
  why_ = why;
  return Malformed{why};
}

RequestReader::Event RequestReader::Parse(std::span<const std::byte>* bytes) {
  if (expected_ == Expected::kNothing) return Malformed{why_};
  if (!head_.Fill(bytes, 1)) return NeedBytes{};
  const char type = head_.text()[0];
  if (expected_ == Expected::kOpen) {
    return type == 'O' ? ParseOpen(bytes) : Complain("expected a file to begin");
  }
  if (type == 'X') {
    if (!head_.Fill(bytes, kAbortHead)) return NeedBytes{};
    const std::uint64_t length = Fields(head_.text()).Number(2);
    if (length > kTextBytesMax) return Complain("the text of an abort is too long");
    if (!head_.Fill(bytes, kAbortHead + length)) return NeedBytes{};
    expected_ = Expected::kOpen;
    return AbortMessage{std::string(head_.text().substr(kAbortHead))};
  }
  if (expected_ == Expected::kFrom) {
    if (type != 'F') return Complain("expected where the file goes on");
    if (!head_.Fill(bytes, kFrom)) return NeedBytes{};
    const std::uint64_t offset = Fields(head_.text()).Number(8);
    if (offset > rest_) return Complain("a file goes on behind its end");
    rest_ -= offset;
    expected_ = Expected::kContent;
    return FromMessage{offset};
  }
  if (type == 'B') {
    if (!head_.Fill(bytes, kBlockHead)) return NeedBytes{};
    const std::uint64_t length = Fields(head_.text()).Number(4);
    if (length == 0) return Complain("a block is empty");
    if (length > rest_) return Complain("a file is longer than announced");
    rest_ -= length;
    block_rest_ = length;
    return BlockBytes{};
  }
  if (type != 'E') return Complain("expected content");
  if (rest_ > 0) return Complain("a file is shorter than announced");
  if (!head_.Fill(bytes, kEndHead)) return NeedBytes{};
  const std::size_t length = Fields(head_.text()).Byte();
  if (!IsDigestLength(length)) return Complain("a digest has a wrong length");
  if (!head_.Fill(bytes, kEndHead + length)) return NeedBytes{};
  expected_ = Expected::kOpen;
  return EndMessage{std::string(head_.text().substr(kEndHead))};
}

RequestReader::Event RequestReader::ParseOpen(std::span<const std::byte>* bytes) {
  if (!head_.Fill(bytes, kOpenHead)) return NeedBytes{};
  Fields fields(head_.text());
  OpenMessage open;
  open.number = fields.Number32();
  const std::uint8_t kind = fields.Byte();
  const std::uint8_t flags = fields.Byte();
  open.size = fields.Number(8);
  open.mtime_ns = static_cast<std::int64_t>(fields.Number(8));
  open.mode = fields.Number32();
  for (std::byte& byte : open.identity) byte = static_cast<std::byte>(fields.Byte());
  const std::uint64_t name_bytes = fields.Number(2);
  if (open.number != next_number_) return Complain("file numbers do not count up");
  if (kind > 1) return Complain("neither a file nor a folder");
  if (flags > 1) return Complain("an unknown flag");
  if (open.size > kFileBytesMax) return Complain("a size is too large");
  if (open.mode > 07777) return Complain("a mode is no permissions");
  if (kind == 1 && (open.size > 0 || flags > 0)) return Complain("a folder has content");
  if (name_bytes > kTransferNameBytesMax) return Complain("a name is too long");
  if (!head_.Fill(bytes, kOpenHead + name_bytes)) return NeedBytes{};
  open.kind = static_cast<EntryKind>(kind);
  open.resume = flags == 1;
  open.name = head_.text().substr(kOpenHead);
  ++next_number_;
  rest_ = open.size;
  if (open.kind == EntryKind::kFile) {
    expected_ = open.resume ? Expected::kFrom : Expected::kContent;
  }
  return open;
}

ReplyReader::Step ReplyReader::Next(std::span<const std::byte> bytes) {
  std::span<const std::byte> rest = bytes;
  Event event = Parse(&rest);
  if (!std::holds_alternative<NeedBytes>(event)) head_.Clear();
  return {bytes.size() - rest.size(), std::move(event)};
}

ReplyReader::Event ReplyReader::Complain(std::string_view why) {
  why_ = why;
  return Malformed{why};
}

ReplyReader::Event ReplyReader::Parse(std::span<const std::byte>* bytes) {
  if (!why_.empty()) return Malformed{why_};
  if (!head_.Fill(bytes, 1)) return NeedBytes{};
  if (head_.text()[0] == 'S') {
    if (!head_.Fill(bytes, kStartHead)) return NeedBytes{};
    Fields fields(head_.text());
    StartMessage start;
    start.number = fields.Number32();
    start.offset = fields.Number(8);
    const std::size_t length = fields.Byte();
    if (length != 0 && !IsDigestLength(length)) return Complain("a digest has a wrong length");
    if ((length == 0) != (start.offset == 0)) return Complain("a digest of nothing, or none");
    if (!head_.Fill(bytes, kStartHead + length)) return NeedBytes{};
    start.digest = head_.text().substr(kStartHead);
    return start;
  }
  if (head_.text()[0] != 'D') return Complain("an unknown answer");
  if (!head_.Fill(bytes, kDoneHead)) return NeedBytes{};
  Fields fields(head_.text());
  DoneMessage done;
  done.number = fields.Number32();
  const std::uint8_t outcome = fields.Byte();
  if (outcome > static_cast<std::uint8_t>(Outcome::kReplaced)) {
    return Complain("an unknown outcome");
  }
  done.outcome = static_cast<Outcome>(outcome);
  const std::uint64_t length = fields.Number(2);
  if (length > kTextBytesMax) return Complain("the text of an answer is too long");
  if (!head_.Fill(bytes, kDoneHead + length)) return NeedBytes{};
  done.text = head_.text().substr(kDoneHead);
  return done;
}

}  // namespace ds::udp_transfer
