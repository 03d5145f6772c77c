#include "ipc_proxy_cache/core/messages.h"

#include <algorithm>
#include <concepts>
#include <string_view>
#include <type_traits>
#include <utility>

#include "common/base/check.h"

namespace ds::ipc_proxy_cache {
namespace {

constexpr std::uint64_t kRecordAlignment = 64;
constexpr std::uint64_t kRecordOffsetEnd = std::uint64_t{1} << 38U;

bool IsRecordOffset(std::uint64_t value) {
  return value % kRecordAlignment == 0 && value < kRecordOffsetEnd;
}
bool IsTime(std::int64_t value) { return value >= 0 && value < kTimeEnd; }

/// Appends values; one that is out of its bounds is this program's fault.
class Encoder {
 public:
  explicit Encoder(std::vector<std::byte>* bytes) : bytes_(bytes) {}

  template <std::unsigned_integral T>
  void Number(T value) {
    for (std::size_t i = 0; i < sizeof value; ++i) {
      bytes_->push_back(static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i)));
    }
  }
  void Id(std::uint64_t value) {
    CHECK(value != 0);
    Number(value);
  }
  void Size(std::uint64_t value) {
    CHECK(value < kSizeEnd);
    Number(value);
  }
  void Amount(std::uint64_t value) {
    CHECK(value != 0);
    Size(value);
  }
  void RecordOffset(std::uint64_t value) {
    CHECK(IsRecordOffset(value));
    Number(value);
  }
  void Time(std::int64_t value) {
    CHECK(IsTime(value));
    Number(static_cast<std::uint64_t>(value));
  }
  void Flag(bool value) { Number(static_cast<std::uint8_t>(value)); }
  template <typename Enum>
  void Choice(Enum value, std::uint8_t count) {
    CHECK(static_cast<std::uint8_t>(value) < count);
    Number(static_cast<std::uint8_t>(value));
  }
  void Text(std::string_view text, std::size_t bytes_min, std::size_t bytes_max) {
    CHECK(text.size() >= bytes_min && text.size() <= bytes_max);
    Number(static_cast<std::uint32_t>(text.size()));
    const auto* first = reinterpret_cast<const std::byte*>(text.data());
    bytes_->insert(bytes_->end(), first, first + text.size());
  }
  template <typename T, typename VisitElement>
  void List(const std::vector<T>& list, std::size_t count_max, const VisitElement& visit) {
    CHECK(list.size() <= count_max);
    Number(static_cast<std::uint32_t>(list.size()));
    for (const T& element : list) visit(element);
  }
  template <typename T>
  bool Has(const std::optional<T>& value) {
    Flag(value.has_value());
    return value.has_value();
  }
  template <typename T>
  void Part(const T& part) {
    T::Visit(part, *this);
  }

 private:
  std::vector<std::byte>* const bytes_;
};

/// Takes values from the front; after the first failure all further ones are zero, and nothing is
/// kept of them.
class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  bool whole() const { return ok_ && bytes_.empty(); }

  template <std::unsigned_integral T>
  void Number(T& value) {
    std::uint64_t wide = 0;
    const auto bytes = Take(sizeof value);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      wide |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
    }
    value = static_cast<T>(wide);
  }
  void Id(std::uint64_t& value) {
    Number(value);
    Demand(value != 0);
  }
  void Size(std::uint64_t& value) {
    Number(value);
    Demand(value < kSizeEnd);
  }
  void Amount(std::uint64_t& value) {
    Size(value);
    Demand(value != 0);
  }
  void RecordOffset(std::uint64_t& value) {
    Number(value);
    Demand(IsRecordOffset(value));
  }
  void Time(std::int64_t& value) {
    std::uint64_t bits = 0;
    Number(bits);
    value = static_cast<std::int64_t>(bits);
    Demand(IsTime(value));
  }
  void Flag(bool& value) {
    std::uint8_t byte = 0;
    Number(byte);
    Demand(byte <= 1);
    value = byte == 1;
  }
  template <typename Enum>
  void Choice(Enum& value, std::uint8_t count) {
    std::uint8_t byte = 0;
    Number(byte);
    Demand(byte < count);
    if (ok_) value = static_cast<Enum>(byte);
  }
  void Text(std::string& text, std::size_t bytes_min, std::size_t bytes_max) {
    std::uint32_t size = 0;
    Number(size);
    Demand(size >= bytes_min && size <= bytes_max);
    const auto bytes = Take(size);
    text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  template <typename T, typename VisitElement>
  void List(std::vector<T>& list, std::size_t count_max, const VisitElement& visit) {
    std::uint32_t count = 0;
    Number(count);
    Demand(count <= count_max);
    for (std::uint32_t i = 0; i < count && ok_; ++i) visit(list.emplace_back());
  }
  template <typename T>
  bool Has(std::optional<T>& value) {
    bool has = false;
    Flag(has);
    if (has && ok_) value.emplace();
    return value.has_value();
  }
  template <typename T>
  void Part(T& part) {
    T::Visit(part, *this);
  }

 private:
  void Demand(bool condition) { ok_ = ok_ && condition; }
  std::span<const std::byte> Take(std::size_t count) {
    Demand(count <= bytes_.size());
    if (!ok_) return {};
    const auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }

  std::span<const std::byte> bytes_;
  bool ok_ = true;
};

/// Decodes into the alternative at `kIndex` and those behind it, whichever has the type.
template <std::size_t kIndex = 0>
bool DecodeAlternative(std::uint16_t type, Sender sender, Decoder& decoder, Message& message) {
  if constexpr (kIndex < std::variant_size_v<Message>) {
    using Alternative = std::variant_alternative_t<kIndex, Message>;
    static_assert(Alternative::kType == kIndex + 1, "types are numbered in their order");
    if (Alternative::kType != type) {
      return DecodeAlternative<kIndex + 1>(type, sender, decoder, message);
    }
    if (Alternative::kSender != sender) return false;
    decoder.Part(message.emplace<kIndex>());
    return decoder.whole();
  } else {
    return false;
  }
}

}  // namespace

std::vector<std::byte> EncodeMessage(const Message& message) {
  std::vector<std::byte> packet;
  Encoder encoder(&packet);
  std::visit(
      [&](const auto& alternative) {
        encoder.Number(alternative.kType);
        encoder.Number(kMessageVersion);
        encoder.Number(std::uint32_t{0});
        encoder.Part(alternative);
      },
      message);
  CHECK(packet.size() <= kMessageBytesMax);
  std::vector<std::byte> length;
  Encoder(&length).Number(static_cast<std::uint32_t>(packet.size()));
  std::copy(length.begin(), length.end(), packet.begin() + 4);
  return packet;
}

absl::StatusOr<Message> DecodeMessage(std::span<const std::byte> packet, Sender sender) {
  if (packet.size() < kMessageHeaderBytes) {
    return InvalidArgument("message of " + std::to_string(packet.size()) + " bytes");
  }
  Decoder decoder(packet);
  std::uint16_t type = 0;
  std::uint16_t version = 0;
  std::uint32_t length = 0;
  decoder.Number(type);
  decoder.Number(version);
  decoder.Number(length);
  if (version != kMessageVersion) {
    return InvalidArgument("message of version " + std::to_string(version) + ", not " +
                           std::to_string(kMessageVersion) + " (a program of another release?)");
  }
  Message message;
  if (length != packet.size() || !DecodeAlternative(type, sender, decoder, message)) {
    return InvalidArgument("malformed message of type " + std::to_string(type));
  }
  return message;
}

bool IsOfAnotherVersion(std::span<const std::byte> packet) {
  if (packet.size() < kMessageHeaderBytes) return false;
  Decoder decoder(packet);
  std::uint16_t type = 0;
  std::uint16_t version = 0;
  decoder.Number(type);
  decoder.Number(version);
  return version != kMessageVersion;
}

std::size_t DescriptorsOf(const Message& message) {
  if (const auto* hello = std::get_if<Hello>(&message)) return hello->segments > 0 ? 1 : 0;
  if (const auto* opened = std::get_if<Opened>(&message)) return opened->gone ? 0 : 1;
  return std::holds_alternative<Welcome>(message) || std::holds_alternative<Begun>(message) ? 1 : 0;
}

}  // namespace ds::ipc_proxy_cache
