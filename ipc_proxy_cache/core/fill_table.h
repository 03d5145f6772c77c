#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/time.h"

namespace ds::ipc_proxy_cache {

/// A connection of a proxy's worker to the cache. Never used again while the cache lives.
enum class LinkId : std::uint64_t {};
/// One fetch of one key, whoever leads it. Never used again while the cache lives.
enum class FillId : std::uint64_t {};
/// Counts the leaders of a fill from 1 on.
enum class Term : std::uint64_t {};
/// Given by a link to its WANT; comes back in the answer, and means nothing here.
enum class RequestId : std::uint64_t {};

/// How a fill ended.
enum class FillEnd {
  kComplete,  ///< the object that was begun is whole
  kFound,     ///< what was fetched is in the index: look there; if it has gone again, WANT again
  kNegative,  ///< the origin has no such object
  kBroken,    ///< no (more) bytes: of clients that have got k of n, these k are all
  kPass,      ///< not for sharing: everybody fetches for itself
};

/// What the shell has to do, in the order of the list. Those with a `link` are messages to it.
namespace fill_action {

struct Found {  ///< answers WANT: it is in the index
  LinkId link;
  RequestId request;
};
struct Pass {  ///< answers WANT: fetch it without the cache, too much is under way
  LinkId link;
  RequestId request;
};
struct Lead {  ///< answers WANT: fetch it for everybody
  LinkId link;
  RequestId request;
  FillId fill;
  Term term;
};
struct Follow {  ///< answers WANT: somebody is fetching it
  LinkId link;
  RequestId request;
  FillId fill;
};
struct Begun {  ///< the fill has an object: here is its descriptor
  LinkId link;
  FillId fill;
};
struct Progress {  ///< the object has `filled` bytes
  LinkId link;
  FillId fill;
  std::uint64_t filled;
};
/// The link leads from now on: if the object has begun, from byte `filled` on and only if the
/// origin still has the same version, else from nothing.
struct Promoted {
  LinkId link;
  FillId fill;
  Term term;
  bool begun;
  std::uint64_t filled;
};
struct Demoted {  ///< the link leads no more, but follows
  LinkId link;
  FillId fill;
};
struct Ended {  ///< the link no longer takes part in the fill, which has ended
  LinkId link;
  FillId fill;
  FillEnd end;
};
/// Once for each fill, before its Ended messages: the fill is over, its object (if it has one) or
/// its negative answer goes into the index, or is dropped.
struct CloseFill {
  FillId fill;
  FillEnd end;
  bool publish;
};
/// The link broke the protocol: close it, and report HandleLinkEnd().
struct EndLink {
  LinkId link;
  std::string_view reason;
};

}  // namespace fill_action
using FillAction = std::variant<fill_action::Found, fill_action::Pass, fill_action::Lead,
                                fill_action::Follow, fill_action::Begun, fill_action::Progress,
                                fill_action::Promoted, fill_action::Demoted, fill_action::Ended,
                                fill_action::CloseFill, fill_action::EndLink>;

/// Who fetches what for whom: one fetch of a key at a time, however many links want it, and another
/// link that goes on when the one that fetches dies, is stopped, or loses interest. Knows neither
/// the index nor the objects' bytes: those are the shell's, who owns the table, tells it what
/// happened, and then does what TakeActions() lists.
///
/// The *leader* of a fill fetches; *followers* wait, in the order in which they joined. A leader
/// that ends or leaves is replaced by the first follower, one that is silent by the first that is
/// not. A silent leader whom nobody alive follows stays the leader until somebody alive does:
/// nobody waits for it meanwhile. Each leader has its term, and a leader's message with any other
/// term than the present one has no effect. When the leader goes and nobody follows, the fill is
/// dropped. When the leader goes or is silent and all bytes are there, the fill is complete.
///
/// A link is *silent* when nothing was heard of it for `silence_max`; whoever takes part in a fill,
/// as a leader or as a follower, sends ALIVE more often than that.
///
/// Deadline-driven, single threaded; `now` never goes back.
class FillTable {
 public:
  struct Options {
    Duration silence_max = std::chrono::seconds(1);
    /// Beyond these a WANT is answered Pass. A link takes part in a fill once at most, so a fill
    /// has no more followers than there are links.
    std::size_t fills_max = 4096;
    std::size_t fills_per_link_max = 1024;
  };

  struct Counters {
    std::uint64_t led = 0;  ///< WANTs by what they were answered
    std::uint64_t followed = 0;
    std::uint64_t found = 0;
    std::uint64_t passed = 0;
    std::uint64_t promoted = 0;
    std::uint64_t refused = 0;  ///< messages of a leader of another term, or of a fill that is over
  };

  /// A fill, as its leader's next message finds it.
  struct LedFill {
    std::string_view key;  ///< valid until the next Handle…()
    bool begun = false;
    std::uint64_t length = 0;  ///< of the body, bytes; of one that was begun
    std::uint64_t filled = 0;
    bool publish = false;  ///< false: the key was purged meanwhile

    /// DATA comes in order, and none of it is empty.
    bool TakesData(std::uint64_t offset, std::uint64_t bytes) const {
      return begun && offset == filled && bytes > 0 && bytes <= length - filled;
    }
  };

  explicit FillTable(const Options& options) : options_(options) {}

  /// `in_index`: the index has the key, fresh. One answer: Found, Pass, Lead or Follow. A link has
  /// one WANT, or one part in a fill, for a key at a time.
  void HandleWant(LinkId link, RequestId request, std::string_view key, bool in_index,
                  TimePoint now);

  // What a leader says. The shell asks FindLed() first, since what it does with the message (memory
  // for an object, a copy from a segment) comes before the table's word to the followers; with
  // nullopt the message counts for nothing, and all of these do nothing either. If the shell cannot
  // do it (no memory), it calls HandleEnd() instead, with kPass before BEGIN and kBroken after it.

  std::optional<LedFill> FindLed(LinkId link, FillId fill, Term term) const;
  /// The fill has an object now, with a body of `length` bytes.
  void HandleBegin(LinkId link, FillId fill, Term term, std::uint64_t length, TimePoint now);
  /// These bytes of the body are in the object now. What TakesData() refuses ends the link.
  void HandleData(LinkId link, FillId fill, Term term, std::uint64_t offset, std::uint64_t bytes,
                  TimePoint now);
  /// The object came whole in one message and is in the index now. REQUIRES: FindLed()->publish, if
  /// there is one. (What may not be published any more becomes a BEGIN, a DATA and an END.)
  void HandleInsert(LinkId link, FillId fill, Term term, TimePoint now);
  /// kComplete needs all of the bytes, kFound (a revalidation), kNegative and kPass an object that
  /// was not begun; else the link is ended. The leader is told Ended like the others: it may have
  /// been replaced in the moment in which it said this, and then it is not over for its clients.
  void HandleEnd(LinkId link, FillId fill, Term term, FillEnd end, TimePoint now);

  /// The link has read its last Progress of this fill. It is sent no other before.
  void HandleProgressRead(LinkId link, FillId fill, TimePoint now);
  /// The link has no client for this fill any more, whether it follows or leads. No answer.
  void HandleLeave(LinkId link, FillId fill, TimePoint now);
  void HandleAlive(LinkId link, TimePoint now);
  /// The link's connection has ended.
  void HandleLinkEnd(LinkId link);

  /// A fill of this key goes on for those who take part, and will not be published. A later WANT
  /// begins a new one. Who takes part, for the shell to tell them.
  std::vector<LinkId> HandlePurge(std::string_view key);

  std::optional<TimePoint> NextDeadline() const;
  /// Replaces leaders that have become silent. Before this the shell handles what has arrived, so
  /// that silence is the link's and not the reader's. When even so a whole `silence_max` has passed
  /// since the deadline, this process itself was stopped, and all links get their time again.
  void HandleTimeout(TimePoint now);

  /// What the calls since the last one lead to.
  std::vector<FillAction> TakeActions() { return std::exchange(actions_, {}); }

  const Counters& counters() const { return counters_; }
  std::size_t fills() const { return fills_.size(); }
  /// Links that were heard and have not ended.
  std::size_t links() const { return links_.size(); }

 private:
  struct Follower {
    LinkId link;
    std::optional<std::uint64_t> told;  ///< `filled` in the last Progress, while that is unread
  };
  struct Body {
    std::uint64_t length = 0;
    std::uint64_t filled = 0;
  };
  struct Fill {
    std::string key;
    LinkId leader{};
    Term term{1};
    std::optional<Body> body;         ///< once it has begun
    std::vector<Follower> followers;  ///< in the order in which they joined
    bool publish = true;

    bool whole() const { return body && body->filled == body->length; }
  };
  struct Link {
    TimePoint heard;
    bool silent = false;
    std::list<LinkId>::iterator place;  ///< in by_heard_, unless silent
    std::set<FillId> fills;             ///< in which it takes part
  };
  using Fills = std::map<FillId, Fill>;

  /// The link is alive: it may lead what silent ones led.
  void Hear(LinkId id, TimePoint now);
  /// Hears the link, and finds the fill its message is for. The end, if the message is refused.
  Fills::iterator Led(LinkId link, FillId fill, Term term, TimePoint now);
  bool IsSilent(LinkId link) const { return links_.at(link).silent; }
  std::vector<Follower>::iterator FirstAlive(Fill& fill);
  void ReplaceIfSilent(Fills::iterator it);
  void Promote(Fills::iterator it, std::vector<Follower>::iterator follower);
  /// The link takes part no longer.
  void Remove(Fills::iterator it, LinkId link);
  void Close(Fills::iterator it, FillEnd end);

  Options options_;
  std::uint64_t last_fill_ = 0;
  Fills fills_;
  std::map<std::string, FillId, std::less<>> by_key_;  ///< fills that may be joined
  std::map<LinkId, Link> links_;
  std::list<LinkId> by_heard_;  ///< links that are not silent, the longest unheard first
  std::vector<FillAction> actions_;
  Counters counters_;
};

}  // namespace ds::ipc_proxy_cache
