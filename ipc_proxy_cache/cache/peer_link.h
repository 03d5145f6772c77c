#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "common/shm/memfd.h"
#include "common/shm/seqpacket.h"
#include "ipc_proxy_cache/core/messages.h"
#include "ipc_proxy_cache/link/packet_channel.h"
#include "ipc_proxy_cache/shm/segment_memory.h"

namespace ds::ipc_proxy_cache {

/// The cache's end of one link: its channel, and what the cache knows of the peer. Owned by the
/// Cache; belongs to its thread.
class PeerLink final : private PacketChannel::Receiver {
 public:
  class Owner {
   public:
    virtual void OnMessage(PeerLink& link, Message message, UniqueFd descriptor) = 0;
    virtual void OnLinkEnd(PeerLink& link, const absl::Status& why) = 0;

   protected:
    virtual ~Owner() = default;
  };

  PeerLink(std::uint64_t id, const shm::PeerCredentials& peer, net::EventLoop* loop,
           UniqueFd socket, Owner* owner)
      : id_(id),
        peer_(peer),
        owner_(owner),
        channel_(loop, std::move(socket), Sender::kLink, this) {}

  std::uint64_t id() const { return id_; }
  const shm::PeerCredentials& peer() const { return peer_; }
  PacketChannel& channel() { return channel_; }

  /// What its HELLO said, once it came.
  struct Greeting {
    bool control = false;
    std::string name{};
  };
  std::optional<Greeting> greeting;
  std::optional<PeerSegments> segments;
  std::size_t delayed = 0;  ///< WANTs that wait for --delay
  /// Mapped here for COPY: the link gets the version it began with, evicted or not.
  std::map<std::uint64_t, shm::Memfd> copied;
  /// A RETIRED that it has not answered yet; more was retired since.
  bool told_of_retired = false;
  bool retired_since = false;

 private:
  void OnMessage(Message message, UniqueFd descriptor) override {
    owner_->OnMessage(*this, std::move(message), std::move(descriptor));
  }
  void OnLinkEnd(const absl::Status& why) override { owner_->OnLinkEnd(*this, why); }

  const std::uint64_t id_;
  const shm::PeerCredentials peer_;
  Owner* const owner_;
  PacketChannel channel_;
};

}  // namespace ds::ipc_proxy_cache
