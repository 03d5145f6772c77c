#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

// The datagrams by which a client finds out about fast mode and shows its address (ARCHITECTURE.md,
// "Fast mode on the wire"), and the one by which a server says that it knows nothing of a
// connection. Encoders write the tag that the value holds; who computes one (seal/) takes the
// encoding's Tagged…() bytes.

namespace ds::udp_transfer {

inline constexpr std::uint8_t kVersion = 1;

inline constexpr std::uint8_t kCookieType = 0x80;
inline constexpr std::uint8_t kInitialType = 0x90;
inline constexpr std::uint8_t kPacketType = 0xA0;
inline constexpr std::uint8_t kResetType = 0xB0;
inline constexpr std::uint8_t kRefusalType = 0xC0;

inline constexpr std::size_t kHelloBytes = 1200;
inline constexpr std::size_t kHelloTaggedBytes = 26;
inline constexpr std::size_t kCookieDatagramBytes = 78;
inline constexpr std::size_t kResetBytes = 25;
inline constexpr std::size_t kRefusalBytes = 26;
inline constexpr std::size_t kHelloTagBytes = 16;  ///< of hello, cookie, reset and refusal

using Random = std::array<std::byte, 16>;
using Cookie = std::array<std::byte, 24>;
using HelloTag = std::array<std::byte, kHelloTagBytes>;

/// Client to server. May be forged and repeated by anybody unless there is a key.
struct Hello {
  std::uint8_t first_version = kVersion;
  std::uint8_t last_version = kVersion;
  std::uint64_t connection_id = 0;
  Random client_random{};
  HelloTag tag{};

  friend bool operator==(const Hello&, const Hello&) = default;
};

/// The server's answer to a hello.
struct CookieMessage {
  std::uint8_t version = kVersion;
  std::uint64_t connection_id = 0;
  std::array<std::byte, 8> client_random_begin{};  ///< so that no old answer fits a new hello
  Random server_random{};
  Cookie cookie{};
  std::uint32_t receive_window = 0;  ///< bytes of its stream that the client may send at first
  HelloTag tag{};

  friend bool operator==(const CookieMessage&, const CookieMessage&) = default;
};

/// The server's answer to a packet of a connection that it does not know.
struct Reset {
  std::uint64_t connection_id = 0;
  HelloTag tag{};

  friend bool operator==(const Reset&, const Reset&) = default;
};

enum class RefusalReason : std::uint8_t { kFull = 1, kShutdown = 2 };

/// The server's answer to an initial packet that would begin a connection, when it takes none. It
/// has no packet number, so it uses up none of the connection's.
struct Refusal {
  std::uint64_t connection_id = 0;
  RefusalReason reason = RefusalReason::kFull;
  HelloTag tag{};

  friend bool operator==(const Refusal&, const Refusal&) = default;
};

/// What the hello's tag covers: its fields before the tag, in binary.
std::array<std::byte, kHelloTaggedBytes> TaggedHelloBytes(const Hello& hello);
void EncodeHello(const Hello& hello, std::span<std::byte, kHelloBytes> out);
/// Nothing unless it is a whole hello in the one way to write it; its tag is not looked at.
std::optional<Hello> DecodeHello(std::span<const std::byte> datagram);
/// True for everything that begins like a hello: no classic message, even when it is malformed.
bool LooksLikeHello(std::span<const std::byte> datagram);

/// The tag covers all bytes before it: the datagram without its last kHelloTagBytes.
void EncodeCookie(const CookieMessage& message, std::span<std::byte, kCookieDatagramBytes> out);
std::optional<CookieMessage> DecodeCookie(std::span<const std::byte> datagram);

/// As above.
void EncodeReset(const Reset& reset, std::span<std::byte, kResetBytes> out);
std::optional<Reset> DecodeReset(std::span<const std::byte> datagram);

/// As above.
void EncodeRefusal(const Refusal& refusal, std::span<std::byte, kRefusalBytes> out);
/// Nothing, too, for a reason that is not known.
std::optional<Refusal> DecodeRefusal(std::span<const std::byte> datagram);

}  // namespace ds::udp_transfer
