#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "common/base/status.h"
#include "ipc_proxy_cache/core/key_hash.h"

// What links and cache say to each other (ARCHITECTURE.md, "Messages"): one message a packet, as
//
//   u16 type, u16 version, u32 length of the packet, then the fields in the order of Visit().
//
// Little endian, nothing aligned. On the wire: numbers as wide as their type; an enum or a flag is
// a u8; a text is u32 length and bytes; a list u32 count and elements; an optional a flag, and the
// value if there is one. What the codec's names demand: Id is not 0; Size is below 2^48 and Amount
// that and not 0, so sums of a few do not wrap; Time is CLOCK_MONOTONIC, or a span of it, in
// nanoseconds, from 0 to below 2^62.
//
// "Link" is what connects a proxy's worker, or getfile-cachectl, to the cache. All are values.

namespace ds::ipc_proxy_cache {

/// Grows with each change of a layout below: programs of different versions refuse each other.
inline constexpr std::uint16_t kMessageVersion = 2;
inline constexpr std::size_t kMessageHeaderBytes = 8;
inline constexpr std::size_t kMessageBytesMax = 16384;
inline constexpr std::size_t kKeyBytesMax = 8192;
inline constexpr std::size_t kFieldsBytesMax = 8192;
inline constexpr std::size_t kNameBytesMax = 64;
inline constexpr std::size_t kHashesMax = 512;
inline constexpr std::size_t kIdsMax = 1024;
inline constexpr std::size_t kLinksMax = 64;
inline constexpr std::uint64_t kSizeEnd = std::uint64_t{1} << 48U;
inline constexpr std::int64_t kTimeEnd = std::int64_t{1} << 62U;

enum class Sender : std::uint8_t { kLink, kCache };

// Parts of messages.

/// A segment of the link's pool that goes to the cache with this message, and comes back with
/// Taken (or Copied).
struct Segment {
  std::uint32_t index = 0;
  std::uint64_t token = 0;  ///< of this lease; stands at the segment's beginning too
  std::uint64_t bytes = 0;  ///< of content in it, or that may be written into it

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Number(self.index);
    codec.Id(self.token);
    codec.Amount(self.bytes);
  }
  friend bool operator==(const Segment&, const Segment&) = default;
};

/// What the index says about a key.
struct Place {
  std::uint64_t memfd = 0;          ///< id
  std::uint64_t record_offset = 0;  ///< bytes from its start; a multiple of 64, below 2^38
  std::uint32_t flags = 0;          ///< as in the index
  std::int64_t fresh_until_ns = 0;
  std::int64_t stale_until_ns = 0;
  std::int64_t age_zero_ns = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.memfd);
    codec.RecordOffset(self.record_offset);
    codec.Number(self.flags);
    codec.Time(self.fresh_until_ns);
    codec.Time(self.stale_until_ns);
    codec.Time(self.age_zero_ns);
  }
  friend bool operator==(const Place&, const Place&) = default;
};

/// What RFC 9111 allows with an answer, as its leader has read it.
struct Freshness {
  std::int64_t age_zero_ns = 0;               ///< when its age was 0
  std::optional<std::int64_t> lifetime_ns{};  ///< from there; none: the origin says nothing, --ttl
  std::int64_t stale_ns = 0;                  ///< after that, while somebody revalidates
  bool must_revalidate = false;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Time(self.age_zero_ns);
    if (codec.Has(self.lifetime_ns)) codec.Time(*self.lifetime_ns);
    codec.Time(self.stale_ns);
    codec.Flag(self.must_revalidate);
  }
  friend bool operator==(const Freshness&, const Freshness&) = default;
};

enum class Outcome : std::uint8_t {
  kComplete,     ///< all bytes that Begin named are there
  kNotModified,  ///< the version that is there goes on, with new times
  kNegative,     ///< 404, 403 or 410
  kBroken,       ///< the origin failed, or changed in the middle
  kPass,         ///< not for sharing, or no room: who waits fetches for itself
};
inline constexpr std::uint8_t kOutcomeCount = 5;

// The link's beginning.

/// The first message of a link. Descriptor: the segment pool, unless `segments` is 0.
struct Hello {
  static constexpr std::uint16_t kType = 1;
  static constexpr Sender kSender = Sender::kLink;

  bool control = false;  ///< getfile-cachectl: never leads, is no proxy in the status
  std::string name{};    ///< for the status: "getfile-proxy :8080 worker-0"
  std::uint32_t segments = 0;
  std::uint64_t segment_bytes = 0;  ///< of each, its header included

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Flag(self.control);
    codec.Text(self.name, 0, kNameBytesMax);
    codec.Number(self.segments);
    codec.Size(self.segment_bytes);
  }
  friend bool operator==(const Hello&, const Hello&) = default;
};

/// The answer to Hello. Descriptor: the index.
struct Welcome {
  static constexpr std::uint16_t kType = 2;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t link = 0;        ///< id of this link, for logs
  std::uint64_t small_max = 0;   ///< up to here a whole body is better sent by Insert
  std::uint64_t object_max = 0;  ///< beyond it an object passes through

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.link);
    codec.Size(self.small_max);
    codec.Size(self.object_max);
  }
  friend bool operator==(const Welcome&, const Welcome&) = default;
};

// Misses and fills.

/// The index has nothing fresh for `key`. Answered by Found, Lead, Follow or Passed.
struct Want {
  static constexpr std::uint16_t kType = 3;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t request = 0;  ///< chosen by the link, for the answer
  std::string key{};

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.request);
    codec.Text(self.key, 1, kKeyBytesMax);
  }
  friend bool operator==(const Want&, const Want&) = default;
};

/// It is there by now.
struct Found {
  static constexpr std::uint16_t kType = 4;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t request = 0;
  Place place{};

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.request);
    codec.Part(self.place);
  }
  friend bool operator==(const Found&, const Found&) = default;
};

/// The link shall fetch it.
struct Lead {
  static constexpr std::uint16_t kType = 5;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t request = 0;
  std::uint64_t fill = 0;
  std::uint64_t term = 0;        ///< grows with each leader of the fill
  std::optional<Place> stale{};  ///< an older version, to be revalidated

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.request);
    codec.Id(self.fill);
    codec.Id(self.term);
    if (codec.Has(self.stale)) codec.Part(*self.stale);
  }
  friend bool operator==(const Lead&, const Lead&) = default;
};

/// Somebody fetches it; Begun (at once, if that was sent to others already), Progress and Ended
/// will tell. With `request` 0: the link led this fill, was silent, and is a follower now.
struct Follow {
  static constexpr std::uint16_t kType = 6;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t request = 0;
  std::uint64_t fill = 0;
  std::uint64_t term = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Number(self.request);
    codec.Id(self.fill);
    codec.Id(self.term);
  }
  friend bool operator==(const Follow&, const Follow&) = default;
};

/// Nothing can be shared for this request: fetch it, and tell nobody.
struct Passed {
  static constexpr std::uint16_t kType = 7;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t request = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.request);
  }
  friend bool operator==(const Passed&, const Passed&) = default;
};

/// The head of the origin's answer is there, the body follows by Data. Answered by Begun, or by
/// Ended with kPass.
struct Begin {
  static constexpr std::uint16_t kType = 8;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t fill = 0;
  std::uint64_t term = 0;
  std::uint64_t length = 0;  ///< of the body, bytes
  Freshness freshness{};
  std::string fields{};  ///< what HTTP says; opaque to the cache

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.fill);
    codec.Id(self.term);
    codec.Size(self.length);
    codec.Part(self.freshness);
    codec.Text(self.fields, 0, kFieldsBytesMax);
  }
  friend bool operator==(const Begin&, const Begin&) = default;
};

/// The object that is filled; its record says the rest. Descriptor: the memfd.
struct Begun {
  static constexpr std::uint16_t kType = 9;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t fill = 0;
  std::uint64_t memfd = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.fill);
    codec.Id(self.memfd);
  }
  friend bool operator==(const Begun&, const Begun&) = default;
};

/// Begin, Data and End in one, of a body that one segment holds. Answered by Taken, if there is a
/// segment, and Ended.
struct Insert {
  static constexpr std::uint16_t kType = 10;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t fill = 0;
  std::uint64_t term = 0;
  std::optional<Segment> segment{};  ///< none: the body is empty
  Freshness freshness{};
  std::string fields{};

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.fill);
    codec.Id(self.term);
    if (codec.Has(self.segment)) codec.Part(*self.segment);
    codec.Part(self.freshness);
    codec.Text(self.fields, 0, kFieldsBytesMax);
  }
  friend bool operator==(const Insert&, const Insert&) = default;
};

/// Further bytes of the body, right behind those before. Answered by Taken.
struct Data {
  static constexpr std::uint16_t kType = 11;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t fill = 0;
  std::uint64_t term = 0;
  std::uint64_t offset = 0;  ///< in the body
  Segment segment{};

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.fill);
    codec.Id(self.term);
    codec.Size(self.offset);
    codec.Part(self.segment);
  }
  friend bool operator==(const Data&, const Data&) = default;
};

/// The segment is the link's again, whether its bytes were used or refused.
struct Taken {
  static constexpr std::uint16_t kType = 12;
  static constexpr Sender kSender = Sender::kCache;

  std::uint32_t segment = 0;  ///< index
  std::uint64_t token = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Number(self.segment);
    codec.Id(self.token);
  }
  friend bool operator==(const Taken&, const Taken&) = default;
};

/// `filled` in the object's record has grown. Answered by Read.
struct Progress {
  static constexpr std::uint16_t kType = 13;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t fill = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.fill);
  }
  friend bool operator==(const Progress&, const Progress&) = default;
};

/// The link has read its last Progress of this fill; it is sent none before that.
struct Read {
  static constexpr std::uint16_t kType = 30;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t fill = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.fill);
  }
  friend bool operator==(const Read&, const Read&) = default;
};

/// The fill's key was purged: it goes on for those who wait for it now, and no others join.
struct FillPurged {
  static constexpr std::uint16_t kType = 31;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t fill = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.fill);
  }
  friend bool operator==(const FillPurged&, const FillPurged&) = default;
};

/// The leader's last word on a fill.
struct End {
  static constexpr std::uint16_t kType = 14;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t fill = 0;
  std::uint64_t term = 0;
  Outcome outcome = Outcome::kBroken;
  Freshness freshness{};  ///< counts for kNotModified and kNegative
  std::string fields{};   ///< of the record, for kNegative; for kNotModified empty: as before

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.fill);
    codec.Id(self.term);
    codec.Choice(self.outcome, kOutcomeCount);
    codec.Part(self.freshness);
    codec.Text(self.fields, 0, kFieldsBytesMax);
  }
  friend bool operator==(const End&, const End&) = default;
};

/// The cache's last word on a fill, to its leader and its followers.
struct Ended {
  static constexpr std::uint16_t kType = 15;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t fill = 0;
  Outcome outcome = Outcome::kBroken;
  std::optional<Place> place{};  ///< where it was published, if it was

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.fill);
    codec.Choice(self.outcome, kOutcomeCount);
    if (codec.Has(self.place)) codec.Part(*self.place);
  }
  friend bool operator==(const Ended&, const Ended&) = default;
};

/// The link, which takes part in a fill, lives.
struct Alive {
  static constexpr std::uint16_t kType = 16;
  static constexpr Sender kSender = Sender::kLink;

  template <typename Self, typename Codec>
  static void Visit(Self& /*self*/, Codec& /*codec*/) {}
  friend bool operator==(const Alive&, const Alive&) = default;
};

/// A follower leads from now on, at byte `offset`: by range with If-Range if there was a Begun,
/// else from nothing.
struct Promote {
  static constexpr std::uint16_t kType = 17;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t fill = 0;
  std::uint64_t term = 0;
  std::uint64_t offset = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.fill);
    codec.Id(self.term);
    codec.Size(self.offset);
  }
  friend bool operator==(const Promote&, const Promote&) = default;
};

/// Nobody at this link waits for the fill any more. A leader gives it up to a follower.
struct Leave {
  static constexpr std::uint16_t kType = 18;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t fill = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.fill);
  }
  friend bool operator==(const Leave&, const Leave&) = default;
};

// Memfds.

/// Asks for a memfd that the index names. Answered by Opened.
struct Open {
  static constexpr std::uint16_t kType = 19;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t memfd = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.memfd);
  }
  friend bool operator==(const Open&, const Open&) = default;
};

/// Descriptor: the memfd, unless it is gone.
struct Opened {
  static constexpr std::uint16_t kType = 20;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t memfd = 0;
  bool gone = false;
  bool chunk = false;  ///< of many objects: held only while it is live

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.memfd);
    codec.Flag(self.gone);
    codec.Flag(self.chunk);
  }
  friend bool operator==(const Opened&, const Opened&) = default;
};

/// The link holds these no more; of each, one Opened or Begun is answered for.
struct Released {
  static constexpr std::uint16_t kType = 21;
  static constexpr Sender kSender = Sender::kLink;

  std::vector<std::uint64_t> memfds{};

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.List(self.memfds, kIdsMax, [&](auto& memfd) { codec.Id(memfd); });
  }
  friend bool operator==(const Released&, const Released&) = default;
};

/// Something that the link holds is in the live table no more. Answered by Released, of whatever
/// can be let go now, maybe nothing; the link is sent no other Retired before.
struct Retired {
  static constexpr std::uint16_t kType = 22;
  static constexpr Sender kSender = Sender::kCache;

  template <typename Self, typename Codec>
  static void Visit(Self& /*self*/, Codec& /*codec*/) {}
  friend bool operator==(const Retired&, const Retired&) = default;
};

/// What the link served without the cache's knowledge since it said so last. May be lost or thin.
struct Hits {
  static constexpr std::uint16_t kType = 23;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t hits = 0;
  std::uint64_t stale = 0;
  std::uint64_t passed = 0;
  std::uint64_t coalesced = 0;  ///< further requests of this link for what it led or followed
  std::uint64_t bytes_saved = 0;
  std::vector<KeyHash> hashes{};  ///< of keys that were hit, in their order; the policy's input

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Size(self.hits);
    codec.Size(self.stale);
    codec.Size(self.passed);
    codec.Size(self.coalesced);
    codec.Size(self.bytes_saved);
    codec.List(self.hashes, kHashesMax, [&](auto& hash) {
      codec.Number(hash.low);
      codec.Number(hash.high);
    });
  }
  friend bool operator==(const Hits&, const Hits&) = default;
};

// The segment channel: content through segments instead of a mapped memfd.

enum class Part : std::uint8_t {
  kRecord,  ///< with its key and fields
  kBody,
};
inline constexpr std::uint8_t kPartCount = 2;

/// Asks for bytes of an object, to be written into `segment`. Answered by Copied. From the first
/// one on the link holds the memfd, as after Opened, until it says Released.
struct Copy {
  static constexpr std::uint16_t kType = 24;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t memfd = 0;
  std::uint64_t record_offset = 0;
  Part part = Part::kBody;
  std::uint64_t offset = 0;  ///< in that part
  Segment segment{};

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.memfd);
    codec.RecordOffset(self.record_offset);
    codec.Choice(self.part, kPartCount);
    codec.Size(self.offset);
    codec.Part(self.segment);
  }
  friend bool operator==(const Copy&, const Copy&) = default;
};

/// The segment is the link's again, and has `bytes` bytes in it: fewer than it could take at the
/// end of the part, or of what is filled so far.
struct Copied {
  static constexpr std::uint16_t kType = 25;
  static constexpr Sender kSender = Sender::kCache;

  std::uint32_t segment = 0;  ///< index
  std::uint64_t token = 0;
  std::uint64_t bytes = 0;
  bool gone = false;  ///< there is no such object any more

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Number(self.segment);
    codec.Id(self.token);
    codec.Size(self.bytes);
    codec.Flag(self.gone);
  }
  friend bool operator==(const Copied&, const Copied&) = default;
};

// Control.

/// Answered by Purged.
struct Purge {
  static constexpr std::uint16_t kType = 26;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t request = 0;
  bool soft = false;    ///< stale, not gone
  bool prefix = false;  ///< all keys that begin with `key`
  std::string key{};

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.request);
    codec.Flag(self.soft);
    codec.Flag(self.prefix);
    codec.Text(self.key, 1, kKeyBytesMax);
  }
  friend bool operator==(const Purge&, const Purge&) = default;
};

struct Purged {
  static constexpr std::uint16_t kType = 27;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t request = 0;
  std::uint64_t objects = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.request);
    codec.Size(self.objects);
  }
  friend bool operator==(const Purged&, const Purged&) = default;
};

/// Answered by Report.
struct Status {
  static constexpr std::uint16_t kType = 28;
  static constexpr Sender kSender = Sender::kLink;

  std::uint64_t request = 0;
  std::uint64_t after_link = 0;  ///< only links with greater ids; a report holds kLinksMax

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.request);
    codec.Number(self.after_link);
  }
  friend bool operator==(const Status&, const Status&) = default;
};

/// One link of a proxy, in a report.
struct LinkReport {
  std::uint64_t link = 0;
  std::uint32_t pid = 0;
  std::uint32_t uid = 0;
  std::string name{};
  std::uint64_t retired_bytes = 0;  ///< held, though the cache has dropped it
  std::uint32_t fills_led = 0;

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.link);
    codec.Number(self.pid);
    codec.Number(self.uid);
    codec.Text(self.name, 0, kNameBytesMax);
    codec.Size(self.retired_bytes);
    codec.Number(self.fills_led);
  }
  friend bool operator==(const LinkReport&, const LinkReport&) = default;
};

struct Report {
  static constexpr std::uint16_t kType = 29;
  static constexpr Sender kSender = Sender::kCache;

  std::uint64_t request = 0;
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;          ///< of live memory
  std::uint64_t memory = 0;         ///< --memory
  std::uint64_t retired_bytes = 0;  ///< dropped by the cache, held by links
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t coalesced = 0;
  std::uint64_t stale = 0;
  std::uint64_t passed = 0;
  std::uint64_t evicted = 0;
  std::uint64_t bytes_saved = 0;
  bool more = false;  ///< links with greater ids than the last one here
  std::vector<LinkReport> links{};

  template <typename Self, typename Codec>
  static void Visit(Self& self, Codec& codec) {
    codec.Id(self.request);
    for (auto* count :
         {&self.objects, &self.bytes, &self.memory, &self.retired_bytes, &self.hits, &self.misses,
          &self.coalesced, &self.stale, &self.passed, &self.evicted, &self.bytes_saved}) {
      codec.Size(*count);
    }
    codec.Flag(self.more);
    codec.List(self.links, kLinksMax, [&](auto& link) { codec.Part(link); });
  }
  friend bool operator==(const Report&, const Report&) = default;
};

using Message =
    std::variant<Hello, Welcome, Want, Found, Lead, Follow, Passed, Begin, Begun, Insert, Data,
                 Taken, Progress, End, Ended, Alive, Promote, Leave, Open, Opened, Released,
                 Retired, Hits, Copy, Copied, Purge, Purged, Status, Report, Read, FillPurged>;

/// The packet. REQUIRES: the values are within the bounds above; texts from elsewhere (keys,
/// fields, names) are for the caller to check.
std::vector<std::byte> EncodeMessage(const Message& message);

/// The message that `sender` has sent in one packet. kInvalidArgument for anything else: another
/// version or type, one that only the other side sends, a value out of its bounds, bytes that are
/// missing or left over. What is decoded encodes to the same bytes.
absl::StatusOr<Message> DecodeMessage(std::span<const std::byte> packet, Sender sender);

/// Whether a packet has the header of a message of another version than ours.
bool IsOfAnotherVersion(std::span<const std::byte> packet);

/// How many descriptors travel with `message`: 0 or 1. A packet with another number is malformed.
std::size_t DescriptorsOf(const Message& message);

}  // namespace ds::ipc_proxy_cache
