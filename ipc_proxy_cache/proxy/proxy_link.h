#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/net/event_loop.h"
#include "ipc_proxy_cache/core/messages.h"
#include "ipc_proxy_cache/link/packet_channel.h"
#include "ipc_proxy_cache/link/socket_path.h"
#include "ipc_proxy_cache/proxy/counters.h"
#include "ipc_proxy_cache/proxy/segment_desk.h"
#include "ipc_proxy_cache/shm/reader_view.h"

namespace ds::ipc_proxy_cache {

/// A worker's connection to the cache: finds its socket, greets it, looks for it again when it is
/// gone, and keeps what was mapped of it. Belongs to its loop's thread.
class ProxyLink final : private net::EventLoop::Timer {
 public:
  class Owner {
   public:
    /// Anything but Welcome, Opened, Retired and Report, which the link sees to itself.
    virtual void OnCacheMessage(const Message& message) = 0;
    /// Memfds have ceased to be live: what is kept of them for later hits is to be let go.
    virtual void OnRetired() = 0;
    /// The answer to Open(): mapped by now, or gone.
    virtual void OnOpened(std::uint64_t memfd, bool gone) = 0;
    /// All that was asked is not answered any more; view() is null.
    virtual void OnCacheGone() = 0;

   protected:
    virtual ~Owner() = default;
  };
  struct Options {
    std::vector<std::string> socket_paths;
    std::string name;                      ///< for the cache's status
    std::vector<uid_t> trusted_uids = {};  ///< besides ours and root
  };

  /// The other arguments must outlive the link.
  ProxyLink(net::EventLoop* loop, Options options, SegmentDesk* desk, ProxyCounters* counters,
            Owner* owner);
  ~ProxyLink() override;

  /// Looks for a cache from now on. Returns the path of its socket if there is one at once, else
  /// why there is none.
  absl::StatusOr<std::string> Start();

  /// Null while there is no cache.
  ReaderView* view() { return view_ ? &*view_ : nullptr; }
  /// REQUIRES: view().
  const Welcome& welcome() const { return welcome_; }
  void Send(const Message& message);
  /// The cache has said what no cache says: a new link is made.
  void Break(const char* why);
  /// Lets go of what the cache has retired; to be called once per turn of the loop.
  void Turn() { LetGo(/*answer=*/false); }
  /// To be called several times a second while something is awaited of the cache. One that is
  /// stopped ends no link: if it does not answer for a second, the link is given up.
  void Watch();

 private:
  /// One connection to the cache.
  struct Connection final : PacketChannel::Receiver {
    Connection(ProxyLink* its_link, UniqueFd socket)
        : link(its_link), channel(its_link->loop_, std::move(socket), Sender::kCache, this) {}
    void OnMessage(Message message, UniqueFd descriptor) override;
    void OnLinkEnd(const absl::Status& why) override;

    ProxyLink* const link;
    /// Given up: the number under which the desk has set its segments aside.
    std::optional<std::uint64_t> given_up;
    PacketChannel channel;
  };

  absl::StatusOr<std::string> Connect();
  void OnMessage(Message message, UniqueFd descriptor);
  void OnLinkEnd(const absl::Status& why);
  void OnTimer() override;
  void HandleWelcome(const Welcome& welcome, UniqueFd index);
  bool Map(std::uint64_t memfd, UniqueFd descriptor, ReaderView::Kind kind);
  /// `answer`: RELEASED is due, even of nothing.
  void LetGo(bool answer);
  void GiveUp();
  void End();

  net::EventLoop* const loop_;
  const Options options_;
  SegmentDesk* const desk_;
  ProxyCounters* const counters_;
  Owner* const owner_;
  std::unique_ptr<Connection> connection_;
  /// Given up, and not closed by the cache yet. One for each time that it was stopped.
  std::vector<std::unique_ptr<Connection>> given_up_;
  std::optional<ReaderView> view_;
  Welcome welcome_;
  std::string refusal_;              ///< why the last cache did not welcome us
  Duration pause_;                   ///< before the next look for a cache
  TimePoint heard_;                  ///< the cache's last message
  std::optional<TimePoint> probed_;  ///< it was asked for one
};

}  // namespace ds::ipc_proxy_cache
