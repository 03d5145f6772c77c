#include "udp_transfer/core/classic_message.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <system_error>

#include "common/base/check.h"
#include "common/base/parse.h"

namespace ds::udp_transfer {
namespace {

constexpr std::string_view kSeparator = " | ";

/// The text before the first separator, which is taken off `text` with it; nothing without one.
std::optional<std::string_view> TakeField(std::string_view& text) {
  const std::size_t end = text.find(kSeparator);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view field = text.substr(0, end);
  text.remove_prefix(end + kSeparator.size());
  return field;
}

std::optional<std::uint64_t> TakeNumber(std::string_view& text) {
  const auto field = TakeField(text);
  return field ? ParseDecimal(*field) : std::nullopt;
}

std::optional<ClassicMessage> ParseStart(std::string_view text) {
  const auto seqno0 = TakeNumber(text);
  if (!seqno0 || *seqno0 > kSeqno0Max) return std::nullopt;
  const std::size_t name_end = text.rfind(kSeparator);
  if (name_end == std::string_view::npos) return std::nullopt;
  const auto total_bytes = ParseDecimal(text.substr(name_end + kSeparator.size()));
  if (!total_bytes) return std::nullopt;
  return ClassicStart{*seqno0, text.substr(0, name_end), *total_bytes};
}

std::optional<ClassicMessage> ParseAck(std::string_view text) {
  if (const auto next_seqno = ParseDecimal(text)) return ClassicAck{*next_seqno};
  const auto next_seqno = TakeNumber(text);
  const auto buf_bytes = ParseDecimal(text);
  if (!next_seqno || !buf_bytes) return std::nullopt;
  return ClassicAck{*next_seqno, *buf_bytes};
}

std::optional<ClassicMessage> ParseData(std::string_view text) {
  const auto seqno = TakeNumber(text);
  if (!seqno) return std::nullopt;
  return ClassicData{*seqno, std::as_bytes(std::span(text))};
}

std::size_t Digits(std::uint64_t number) {
  std::size_t digits = 1;
  for (; number >= 10; number /= 10) ++digits;
  return digits;
}

/// Appends to the begin of `out`.
class Writer {
 public:
  explicit Writer(std::span<std::byte> out) : out_(out) {}

  Writer& Text(std::string_view text) {
    CHECK(text.size() <= out_.size() - size_, "a message fits into its buffer");
    std::ranges::copy(std::as_bytes(std::span(text)), out_.begin() + std::ptrdiff_t(size_));
    size_ += text.size();
    return *this;
  }
  Writer& Number(std::uint64_t number) {
    std::array<char, std::numeric_limits<std::uint64_t>::digits10 + 1> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    return Text({digits.data(), end});
  }
  std::size_t size() const { return size_; }

 private:
  std::span<std::byte> out_;
  std::size_t size_ = 0;
};

}  // namespace

std::optional<ClassicMessage> ParseClassic(std::span<const std::byte> datagram) {
  std::string_view text(reinterpret_cast<const char*>(datagram.data()), datagram.size());
  const auto type = TakeField(text);
  if (type == "s") return ParseStart(text);
  if (type == "a") return ParseAck(text);
  if (type == "d") return ParseData(text);
  return std::nullopt;
}

std::size_t ClassicDataHeaderBytes(std::uint64_t seqno) {
  return 1 + kSeparator.size() + Digits(seqno) + kSeparator.size();
}

std::size_t ClassicAckBytes(const ClassicAck& ack) {
  const std::size_t bytes = 1 + kSeparator.size() + Digits(ack.next_seqno);
  return ack.buf_bytes ? bytes + kSeparator.size() + Digits(*ack.buf_bytes) : bytes;
}

std::size_t FormatClassic(const ClassicStart& start, std::span<std::byte> out) {
  Writer writer(out);
  writer.Text("s").Text(kSeparator).Number(start.seqno0).Text(kSeparator).Text(start.name);
  return writer.Text(kSeparator).Number(start.total_bytes).size();
}

std::size_t FormatClassic(const ClassicAck& ack, std::span<std::byte> out) {
  Writer writer(out);
  writer.Text("a").Text(kSeparator).Number(ack.next_seqno);
  if (ack.buf_bytes) writer.Text(kSeparator).Number(*ack.buf_bytes);
  return writer.size();
}

std::size_t FormatClassicDataHeader(std::uint64_t seqno, std::span<std::byte> out) {
  return Writer(out).Text("d").Text(kSeparator).Number(seqno).Text(kSeparator).size();
}

}  // namespace ds::udp_transfer
