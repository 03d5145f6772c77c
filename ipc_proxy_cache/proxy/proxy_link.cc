#include "ipc_proxy_cache/proxy/proxy_link.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <span>

namespace ds::ipc_proxy_cache {
namespace {

constexpr Duration kPauseMin = std::chrono::milliseconds(50);
constexpr Duration kPauseMax = std::chrono::seconds(1);
/// For retired memory that clients still read: with no further client there are no turns.
constexpr Duration kTurnInterval = std::chrono::milliseconds(250);

}  // namespace

ProxyLink::ProxyLink(net::EventLoop* loop, Options options, SegmentDesk* desk,
                     ProxyCounters* counters, Owner* owner)
    : loop_(loop),
      options_(std::move(options)),
      desk_(desk),
      counters_(counters),
      owner_(owner),
      pause_(kPauseMin) {}

ProxyLink::~ProxyLink() { loop_->Cancel(this); }

absl::StatusOr<std::string> ProxyLink::Start() {
  auto connected = Connect();
  if (!connected.ok()) loop_->Arm(this, std::chrono::steady_clock::now() + pause_);
  return connected;
}

absl::StatusOr<std::string> ProxyLink::Connect() {
  ASSIGN_OR_RETURN(ConnectedLink link, ConnectToCache(options_.socket_paths));
  Receiver* const receiver = this;
  channel_ =
      std::make_unique<PacketChannel>(loop_, std::move(link.socket), Sender::kCache, receiver);
  RETURN_IF_ERROR(channel_->Start());
  const SegmentGeometry& geometry = desk_->memory().geometry();
  channel_->Send(Hello{.control = false,
                       .name = options_.name.substr(0, kNameBytesMax),
                       .segments = static_cast<std::uint32_t>(geometry.count),
                       .segment_bytes = geometry.segment_bytes},
                 desk_->memory().fd());
  return link.path;
}

void ProxyLink::OnTimer() {
  if (channel_ != nullptr) {
    Turn();
    return;
  }
  if (Connect().ok()) return;
  channel_.reset();
  pause_ = std::min(2 * pause_, kPauseMax);
  loop_->Arm(this, loop_->now() + pause_);
}

void ProxyLink::Send(const Message& message) {
  if (channel_ != nullptr) channel_->Send(message);
}

void ProxyLink::OnMessage(Message message, UniqueFd descriptor) {
  if (const auto* welcome = std::get_if<Welcome>(&message)) {
    return HandleWelcome(*welcome, std::move(descriptor));
  }
  if (!view_) return Break("a message before WELCOME");
  if (const auto* opened = std::get_if<Opened>(&message)) {
    if (!opened->gone &&
        !Map(opened->memfd, std::move(descriptor),
             opened->chunk ? ReaderView::Kind::kChunk : ReaderView::Kind::kObject)) {
      return;
    }
    owner_->OnOpened(opened->memfd, opened->gone);
    return;
  }
  if (std::holds_alternative<Retired>(message)) {
    // Answered in any case: before that there is no other.
    if (!Turn()) Send(Released{});
    return;
  }
  if (const auto* begun = std::get_if<Begun>(&message)) {
    if (!Map(begun->memfd, std::move(descriptor), ReaderView::Kind::kObject)) return;
  }
  owner_->OnCacheMessage(message);
}

void ProxyLink::HandleWelcome(const Welcome& welcome, UniqueFd index) {
  if (view_) return Break("a second WELCOME");
  auto reader = IndexReader::Adopt(std::move(index));
  if (!reader.ok()) return Break("a WELCOME without an index");
  welcome_ = welcome;
  view_.emplace(*std::move(reader));
  pause_ = kPauseMin;
  counters_->links_made.Add();
  counters_->linked = true;
  spdlog::debug("link {} to the cache", welcome.link);
}

bool ProxyLink::Map(std::uint64_t memfd, UniqueFd descriptor, ReaderView::Kind kind) {
  const absl::Status mapped = view_->Map(memfd, std::move(descriptor), kind);
  if (mapped.ok()) {
    TurnAgain();
    return true;
  }
  Break("a descriptor of no memory of a cache's");
  return false;
}

bool ProxyLink::Turn() {
  if (!view_) return false;
  const std::vector<std::uint64_t> released = view_->Turn();
  for (std::span<const std::uint64_t> left(released); !left.empty();) {
    const auto part = left.first(std::min(left.size(), kIdsMax));
    left = left.subspan(part.size());
    Send(Released{{part.begin(), part.end()}});
  }
  TurnAgain();
  return !released.empty();
}

void ProxyLink::TurnAgain() {
  if (view_->holds_retired() && !armed()) loop_->Arm(this, loop_->now() + kTurnInterval);
}

void ProxyLink::Break(const char* why) {
  counters_->links_broken.Add();
  spdlog::warn("cache: {}; the link is made anew", why);
  End();
}

void ProxyLink::OnLinkEnd(const absl::Status& why) {
  if (why.code() == absl::StatusCode::kInvalidArgument) counters_->links_broken.Add();
  if (!why.ok()) spdlog::warn("cache: {}", ds::Message(why));
  End();
}

void ProxyLink::End() {
  const bool had_view = view_.has_value();
  // A cache that is stopped may yet read what we sent: then the segments' tokens are others.
  channel_.reset();
  view_.reset();
  counters_->linked = false;
  desk_->EndLink();
  loop_->Arm(this, loop_->now() + pause_);
  if (had_view) owner_->OnCacheGone();
}

}  // namespace ds::ipc_proxy_cache
