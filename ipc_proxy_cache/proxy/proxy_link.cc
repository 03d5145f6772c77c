#include "ipc_proxy_cache/proxy/proxy_link.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <span>

namespace ds::ipc_proxy_cache {
namespace {

constexpr Duration kPauseMin = std::chrono::milliseconds(50);
constexpr Duration kPauseMax = std::chrono::seconds(1);
constexpr Duration kLeavingPause = std::chrono::milliseconds(100);
/// A cache that is silent for so long is asked, and given up if it does not answer for so long.
constexpr Duration kProbeAfter = std::chrono::milliseconds(200);
constexpr Duration kAnswerMax = std::chrono::milliseconds(700);

}  // namespace

ProxyLink::ProxyLink(net::EventLoop* loop, Options options, SegmentDesk* desk,
                     ProxyCounters* counters, Owner* owner)
    : loop_(loop),
      options_(std::move(options)),
      desk_(desk),
      counters_(counters),
      owner_(owner),
      pause_(kPauseMin) {}

ProxyLink::~ProxyLink() {
  loop_->Cancel(this);
  for (const auto& connection : given_up_) desk_->EndLink(*connection->given_up);
}

absl::StatusOr<std::string> ProxyLink::Start() {
  auto connected = Connect();
  if (!connected.ok()) loop_->Arm(this, std::chrono::steady_clock::now() + pause_);
  return connected;
}

absl::StatusOr<std::string> ProxyLink::Connect() {
  ASSIGN_OR_RETURN(ConnectedLink link,
                   ConnectToCache(options_.socket_paths, options_.trusted_uids));
  auto connection = std::make_unique<Connection>(this, std::move(link.socket));
  RETURN_IF_ERROR(connection->channel.Start());
  connection_ = std::move(connection);
  const SegmentGeometry& geometry = desk_->memory().geometry();
  connection_->channel.Send(Hello{.control = false,
                                  .name = options_.name.substr(0, kNameBytesMax),
                                  .segments = static_cast<std::uint32_t>(geometry.count),
                                  .segment_bytes = geometry.segment_bytes},
                            desk_->memory().fd());
  return link.path;
}

/// Before a link: time to look for a cache. With one: something may be let go by now.
void ProxyLink::OnTimer() {
  if (connection_ != nullptr) return Turn();
  if (Connect().ok()) return;
  pause_ = std::min(2 * pause_, kPauseMax);
  loop_->Arm(this, loop_->now() + pause_);
}

void ProxyLink::Send(const Message& message) {
  if (connection_ != nullptr) connection_->channel.Send(message);
}

void ProxyLink::Connection::OnMessage(Message message, UniqueFd descriptor) {
  if (!given_up) link->OnMessage(std::move(message), std::move(descriptor));
}

void ProxyLink::Connection::OnLinkEnd(const absl::Status& why) {
  if (!given_up) return link->OnLinkEnd(why);
  // Nothing that was sent here will be executed any more.
  link->desk_->EndLink(*given_up);
  std::erase_if(link->given_up_, [this](const auto& other) { return other.get() == this; });
}

void ProxyLink::OnMessage(Message message, UniqueFd descriptor) {
  heard_ = loop_->now();
  probed_.reset();
  if (const auto* welcome = std::get_if<Welcome>(&message)) {
    return HandleWelcome(*welcome, std::move(descriptor));
  }
  if (!view_) return Break("a message before WELCOME");
  if (std::holds_alternative<Report>(message)) return;  // see Watch()
  if (std::holds_alternative<Retired>(message)) return LetGo(/*answer=*/true);
  if (const auto* opened = std::get_if<Opened>(&message)) {
    if (!opened->gone &&
        !Map(opened->memfd, std::move(descriptor),
             opened->chunk ? ReaderView::Kind::kChunk : ReaderView::Kind::kObject)) {
      return;
    }
    owner_->OnOpened(opened->memfd, opened->gone);
    return Turn();  // it may have been retired meanwhile
  }
  if (const auto* begun = std::get_if<Begun>(&message)) {
    if (!Map(begun->memfd, std::move(descriptor), ReaderView::Kind::kObject)) return;
  }
  owner_->OnCacheMessage(message);
  if (std::holds_alternative<Copied>(message)) Turn();
}

void ProxyLink::HandleWelcome(const Welcome& welcome, UniqueFd index) {
  if (view_) return Break("a second WELCOME");
  auto reader = IndexReader::Adopt(std::move(index));
  if (!reader.ok()) return Break("a WELCOME without an index");
  welcome_ = welcome;
  view_.emplace(*std::move(reader));
  heard_ = loop_->now();
  pause_ = kPauseMin;
  refusal_.clear();
  counters_->linked = true;
  spdlog::debug("link {} to the cache", welcome.link);
}

bool ProxyLink::Map(std::uint64_t memfd, UniqueFd descriptor, ReaderView::Kind kind) {
  const absl::Status mapped = view_->Map(memfd, std::move(descriptor), kind);
  if (mapped.ok()) return true;
  Break("a descriptor of no memory of a cache's");
  return false;
}

void ProxyLink::LetGo(bool answer) {
  if (!view_) return;
  if (view_->RetiredSince()) owner_->OnRetired();
  const std::vector<std::uint64_t> released = view_->Turn();
  if (answer && released.empty()) Send(Released{});
  for (std::span<const std::uint64_t> left(released); !left.empty();) {
    const auto part = left.first(std::min(left.size(), kIdsMax));
    left = left.subspan(part.size());
    Send(Released{{part.begin(), part.end()}});
  }
  // What is still sent to somebody is let go when that is over, though nothing else may happen
  // here.
  if (view_ && view_->leaving() > 0 && !armed()) loop_->Arm(this, loop_->now() + kLeavingPause);
}

void ProxyLink::Watch() {
  if (!view_) return;
  const TimePoint now = loop_->now();
  if (!probed_) {
    if (now - heard_ < kProbeAfter) return;
    // Any answer will do; this one comes at once, whatever else the cache waits for.
    probed_ = now;
    return Send(Status{.request = 1});
  }
  if (now - *probed_ < kAnswerMax) return;
  // Perhaps it was us who were stopped: what has arrived counts.
  connection_->channel.ReceiveArrived();
  if (view_ && probed_) GiveUp();
}

void ProxyLink::GiveUp() {
  spdlog::warn("cache: no answer for a second; going on without it");
  connection_->given_up = desk_->LeaveLink();
  connection_->channel.ShutDownSending();
  given_up_.push_back(std::move(connection_));
  End();
}

void ProxyLink::Break(const char* why) {
  counters_->links_broken.Add();
  spdlog::warn("cache: {}; the link is made anew", why);
  End();
}

void ProxyLink::OnLinkEnd(const absl::Status& why) {
  if (why.code() == absl::StatusCode::kInvalidArgument) counters_->links_broken.Add();
  if (view_) {
    if (!why.ok()) spdlog::warn("cache: {}", ds::Message(why));
  } else {
    // It will be so at each attempt: said once.
    std::string refusal = why.ok() ? "it has ended the link without a welcome (is it of another "
                                     "release, or for other users? its log says)"
                                   : ds::Message(why);
    if (refusal != refusal_) spdlog::warn("cache: {}", refusal);
    refusal_ = std::move(refusal);
    pause_ = std::min(2 * pause_, kPauseMax);
  }
  End();
}

void ProxyLink::End() {
  const bool had_view = view_.has_value();
  connection_.reset();
  view_.reset();
  probed_.reset();
  counters_->linked = false;
  desk_->EndLink();
  loop_->Arm(this, loop_->now() + pause_);
  if (had_view) owner_->OnCacheGone();
}

}  // namespace ds::ipc_proxy_cache
