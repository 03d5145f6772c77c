#include "udp_transfer/server/fast_service.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>
#include <utility>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "udp_transfer/net/sealed_link.h"
#include "udp_transfer/seal/sealer.h"
#include "udp_transfer/server/end_process.h"
#include "udp_transfer/server/receive_session.h"

namespace ds::udp_transfer {
namespace {

/// At most this much is written in one go: what is written makes room for more to come.
constexpr std::size_t kWriteBytesMax = std::size_t{1} << 20U;
/// Answers that may wait for room before the client's stream is read on.
constexpr std::size_t kRepliesMax = 8192;
/// A new connection gets this part of the memory that is left.
constexpr std::uint64_t kWindowShare = 16;
constexpr std::uint8_t kCloseServerEnds = kFirstApplicationCode;

}  // namespace

/// One connection and what it stores.
class FastService::Session final : net::EventLoop::Timer, net::WorkPool::Task {
 public:
  Session(FastService* service, const Connection::Options& options, const ConnectionKeys& keys,
          DatagramPort* port, const Path& path, TimePoint now)
      : service_(service),
        id_(options.id),
        memory_bytes_(options.receive_buffer + options.send_buffer),
        port_(port),
        path_(path),
        link_(options, keys.client_to_server, keys.server_to_client, now),
        files_(std::make_unique<ReceiveSession>(service->store_, keys.digest)) {}
  ~Session() override { service_->loop_->Cancel(this); }

  std::uint64_t id() const { return id_; }
  std::uint64_t memory_bytes() const { return memory_bytes_; }
  DatagramPort* port() const { return port_; }
  const Path& path() const { return path_; }
  Connection& connection() { return link_.connection(); }
  bool touched = false;  ///< stands in touched_

  bool HandleDatagram(std::span<std::byte> datagram, TimePoint now) {
    return link_.HandleDatagram(datagram, now);
  }
  void Move(DatagramPort* port, const Path& path) {
    const bool same_host = std::ranges::equal(path.peer.host(), path_.peer.host());
    port_ = port;
    path_ = path;
    connection().HandlePathChange(same_host ? Connection::PathChange::kPort
                                            : Connection::PathChange::kAddress);
  }
  /// Nothing more to do than to linger: it is closed; or the client has said that no more files
  /// come and has all answers, or is gone, as far as can be told.
  bool idle() const {
    if (under_way()) return false;
    const Connection& connection = link_.connection();
    if (connection.state() != Connection::State::kOpen) return true;
    if (has_unfinished_files()) return false;
    return connection.PathSeemsDead() ||
           (connection.PeerFinished() && connection.acked() == connection.written());
  }
  /// A file is on its way, or has no answer in the connection's hands.
  bool has_unfinished_files() const {
    if (under_way()) return true;
    return files_ != nullptr &&
           (!files_->at_end() || !replies_.empty() || !link_.connection().Readable().empty());
  }
  bool has_open_files() const { return under_way() || files_ != nullptr; }

  /// Goes on with everything. False: it is over, and the session has to go.
  bool Serve() {
    MoveBytes();
    const bool all = link_.Pump(*port_, path_, std::chrono::steady_clock::now());
    if (!all) service_->Touch(this);  // the port has a turn when it can send again
    if (const auto deadline = all ? connection().NextDeadline() : connection().EndDeadline()) {
      service_->loop_->Arm(this, *deadline);
    } else {
      service_->loop_->Cancel(this);
    }
    return under_way() || files_ != nullptr || connection().state() != Connection::State::kClosed;
  }

 private:
  void OnTimer() override {
    connection().HandleTimeout(service_->loop_->now());
    ServeAndFlush();
  }

  void OnDone() override {
    connection().Consume(taken_);
    bytes_ = {};
    taken_ = 0;
    if (absl::IsDataLoss(status_)) EndProcess(status_);
    if (!status_.ok()) {
      connection().Close(kCloseProtocolViolation, Message(status_), service_->loop_->now());
    }
    Publish();
    ServeAndFlush();
  }

  void ServeAndFlush() {
    DatagramPort* const port = port_;
    FastService* const service = service_;
    if (!Serve()) service->OnSessionEnd(this);  // and it is gone
    service->Flush(*port);
    if (service->on_idle_) service->on_idle_();
  }

  /// Between the connection and the pool's thread, when that is free.
  void MoveBytes() {
    if (under_way() || files_ == nullptr) return;
    if (connection().state() != Connection::State::kOpen) {
      ending_ = true;  // what there is of an open file is made durable
      service_->pool_->Submit(this);
      return;
    }
    SendReplies();
    if (!replies_.empty()) return;  // the client has to make room first
    const std::span<const std::byte> readable = connection().Readable();
    if (!readable.empty()) {
      bytes_ = readable.first(std::min(readable.size(), kWriteBytesMax));
      service_->pool_->Submit(this);
    } else if (connection().PeerFinished() && !finished_) {
      if (files_->at_end()) {
        connection().Finish();
        finished_ = true;
      } else {
        connection().Close(kCloseProtocolViolation, "the stream ended within a file",
                           service_->loop_->now());
      }
    }
    if (connection().complete()) connection().Close(kCloseDone, "", service_->loop_->now());
  }

  void SendReplies() {
    while (!replies_.empty()) {
      const std::span<std::byte> room = connection().Writable();
      const std::size_t n = std::min(room.size(), replies_.size());
      if (n == 0) return;
      std::transform(replies_.begin(), replies_.begin() + static_cast<std::ptrdiff_t>(n),
                     room.begin(), [](char c) { return static_cast<std::byte>(c); });
      connection().Commit(n);
      replies_.erase(0, n);
    }
  }

  void Work() override {
    if (ending_) {
      files_.reset();
      status_ = service_->store_->failure();
      return;
    }
    const TimePoint now = std::chrono::steady_clock::now();
    do {
      const auto taken = files_->Receive(bytes_.subspan(taken_), now);
      status_ = taken.status();
      if (!taken.ok() || *taken == 0) break;
      taken_ += *taken;
      replies_ += std::exchange(files_->replies(), {});
    } while (taken_ < bytes_.size() && replies_.size() < kRepliesMax);
    // What is complete has to wait no longer, also when the client has broken the rules since.
    if (const absl::Status settled = files_->Settle(); !settled.ok()) status_ = settled;
    replies_ += std::exchange(files_->replies(), {});
  }

  /// Adds to the service's counters what is new in ours.
  void Publish() {
    if (files_ == nullptr) return;
    const ReceiveSession::Stats& now = files_->stats();
    Counters& counters = service_->counters_;
    counters.files_stored.Add(now.files_stored - published_.files_stored);
    counters.files_failed.Add(now.files_failed - published_.files_failed);
    counters.content_bytes.Add(now.content_bytes - published_.content_bytes);
    counters.resumed_bytes.Add(now.resumed_bytes - published_.resumed_bytes);
    published_ = now;
  }

  FastService* const service_;
  const std::uint64_t id_;
  const std::uint64_t memory_bytes_;
  DatagramPort* port_;
  Path path_;
  SealedLink link_;
  bool finished_ = false;  ///< all is answered
  ReceiveSession::Stats published_;

  // Belongs to the pool's thread while it is at work.
  std::unique_ptr<ReceiveSession> files_;
  std::span<const std::byte> bytes_;
  std::size_t taken_ = 0;
  std::string replies_;
  absl::Status status_;
  bool ending_ = false;
};

FastService::FastService(const Options& options, const KeySchedule* keys, PartialStore* store,
                         net::EventLoop* loop, net::WorkPool* pool)
    : options_(options),
      keys_(keys),
      store_(store),
      loop_(loop),
      pool_(pool),
      tags_(keys->hello_key()) {}

FastService::~FastService() = default;

void FastService::HandleDatagram(DatagramPort& port, std::span<std::byte> datagram,
                                 const Path& path, TimePoint now) {
  switch (std::to_integer<std::uint8_t>(datagram.front())) {
    case kInitialType:
      HandleInitial(port, datagram, path, now);
      break;
    case kPacketType:
      HandlePacket(port, datagram, path, now);
      break;
    default:
      if (LooksLikeHello(datagram)) {
        HandleHello(port, datagram, path);
      } else {
        counters_.malformed.Add();
      }
  }
}

void FastService::HandleHello(DatagramPort& port, std::span<const std::byte> datagram,
                              const Path& path) {
  counters_.hellos.Add();
  const auto hello = DecodeHello(datagram);
  if (!hello) return counters_.malformed.Add();
  if (!tags_.Matches(TaggedHelloBytes(*hello), hello->tag)) return counters_.bad_tag.Add();
  if (hello->first_version > kVersion || hello->last_version < kVersion) {
    return counters_.bad_version.Add();
  }
  // A shutdown lets its connections move, and nobody else in.
  if (shutting_down_ && !sessions_.contains(hello->connection_id)) return counters_.shutdown.Add();
  if (hello_gate_ && !hello_gate_(port, path)) return;

  // Whatever memory there will be when the cookie comes back, it is not less than this; the first
  // ack tells more.
  CookieMessage answer{.connection_id = hello->connection_id,
                       .receive_window = Connection::kFirstLimit};
  std::copy_n(hello->client_random.begin(), answer.client_random_begin.size(),
              answer.client_random_begin.begin());
  FillRandom(answer.server_random);
  answer.cookie = cookies_.Make({.address = path.peer.bytes,
                                 .connection_id = hello->connection_id,
                                 .client_random = hello->client_random,
                                 .server_random = answer.server_random},
                                loop_->now());
  std::array<std::byte, kCookieDatagramBytes> out;
  EncodeCookie(answer, out);
  tags_.Write(std::span(out).first<kCookieDatagramBytes - kHelloTagBytes>(), answer.tag);
  EncodeCookie(answer, out);
  port.AddIfRoom(out, path);
  counters_.cookies_sent.Add();
}

bool FastService::HasCookie(const PacketHeader& header, const Path& path) {
  return cookies_.Check(header.initial->cookie,
                        {.address = path.peer.bytes,
                         .connection_id = header.connection_id,
                         .client_random = header.initial->client_random,
                         .server_random = header.initial->server_random},
                        loop_->now());
}

void FastService::HandleInitial(DatagramPort& port, std::span<std::byte> datagram, const Path& path,
                                TimePoint now) {
  const auto header = DecodeHeader(datagram);
  if (!header) return counters_.malformed.Add();
  const auto found = sessions_.find(header->connection_id);
  if (found == sessions_.end()) {
    if (!HasCookie(*header, path)) return counters_.bad_cookie.Add();
    return Begin(port, datagram, path, *header, now);
  }
  Session* const session = found->second.get();
  const bool moves = session->port() != &port || session->path() != path;
  if (moves && !HasCookie(*header, path)) return counters_.bad_cookie.Add();
  // One that comes late, from where the client was before, does not move it back (RFC 9000, 9.3).
  const auto number = session->connection().PacketNumber(datagram);
  const bool newest = number && session->connection().IsNewest(*number);
  if (!session->HandleDatagram(datagram, now)) return counters_.bad_seal.Add();
  if (moves && newest) {
    counters_.moves.Add();
    session->Move(&port, path);
  }
  Touch(session);
}

void FastService::HandlePacket(DatagramPort& port, std::span<std::byte> datagram, const Path& path,
                               TimePoint now) {
  const auto header = DecodeHeader(datagram);
  if (!header) return counters_.malformed.Add();
  const auto found = sessions_.find(header->connection_id);
  if (found == sessions_.end()) {
    counters_.unknown.Add();
    if (datagram.size() >= kResetBytes) SendReset(port, header->connection_id, path);
    return;
  }
  Session* const session = found->second.get();
  if (session->port() != &port || session->path() != path) return counters_.wrong_address.Add();
  if (!session->HandleDatagram(datagram, now)) return counters_.bad_seal.Add();
  Touch(session);
}

void FastService::Begin(DatagramPort& port, std::span<std::byte> datagram, const Path& path,
                        const PacketHeader& header, TimePoint now) {
  if (shutting_down_ || IsFull(path.peer)) {
    (shutting_down_ ? counters_.shutdown : counters_.full).Add();
    return SendRefusal(port, header.connection_id, path);
  }
  const ConnectionKeys keys =
      keys_->Derive(header.initial->client_random, header.initial->server_random);
  // Nothing is built, and no cookie spent, for who has a cookie but not the key. A client whose
  // connection is forgotten here, by a restart, comes with a new cookie and its old keys.
  const std::uint64_t number = ReconstructPacketNumber(0, header.packet_number_low);
  const auto opened = Sealer(keys.client_to_server).Open(number, kInitialHeaderBytes, datagram);
  if (!opened) {
    counters_.bad_seal.Add();
    return SendReset(port, header.connection_id, path);
  }
  if (!cookies_.Redeem(header.initial->cookie, now)) return counters_.bad_cookie.Add();
  const Connection::Options options{.role = Connection::Role::kServer,
                                    .id = header.connection_id,
                                    .send_buffer = kSendBufferBytes,
                                    .receive_buffer = static_cast<std::size_t>(NextWindow()),
                                    .tag_bytes = Sealer::TagBytes(keys_->has_key()),
                                    .idle_timeout = FromSeconds(options_.idle_timeout_s),
                                    .seed = header.connection_id};
  auto session = std::make_unique<Session>(this, options, keys, &port, path, now);
  session->connection().HandleDatagram(*opened, number, now);
  memory_used_ += session->memory_bytes();
  counters_.sessions_begun.Add();
  Session* const begun = session.get();
  sessions_.emplace(header.connection_id, std::move(session));
  counters_.sessions.store(sessions_.size(), std::memory_order_relaxed);
  counters_.memory.store(memory_used_, std::memory_order_relaxed);
  Touch(begun);
  if (on_opened_) on_opened_(port, path);
}

void FastService::SendReset(DatagramPort& port, std::uint64_t connection_id, const Path& path) {
  Reset reset{.connection_id = connection_id};
  std::array<std::byte, kResetBytes> out;
  EncodeReset(reset, out);
  tags_.Write(std::span(out).first<kResetBytes - kHelloTagBytes>(), reset.tag);
  EncodeReset(reset, out);
  port.AddIfRoom(out, path);
  counters_.resets_sent.Add();
}

void FastService::SendRefusal(DatagramPort& port, std::uint64_t connection_id, const Path& path) {
  Refusal refusal{.connection_id = connection_id,
                  .reason = shutting_down_ ? RefusalReason::kShutdown : RefusalReason::kFull};
  std::array<std::byte, kRefusalBytes> out;
  EncodeRefusal(refusal, out);
  tags_.Write(std::span(out).first<kRefusalBytes - kHelloTagBytes>(), refusal.tag);
  EncodeRefusal(refusal, out);
  port.AddIfRoom(out, path);
}

bool FastService::IsFull(const PeerAddress& from) const {
  if (sessions_.size() >= options_.sessions_max || NextWindow() == 0) return true;
  if (from.IsLoopback()) return false;
  const auto of_source = std::count_if(sessions_.begin(), sessions_.end(), [&](const auto& entry) {
    return entry.second->path().peer.Source() == from.Source();
  });
  return static_cast<std::size_t>(of_source) >= options_.sessions_per_source_max;
}

/// A part of what is left, at most the whole window: those who come later get something as well.
std::uint64_t FastService::NextWindow() const {
  const std::uint64_t left = options_.memory_bytes - std::min(options_.memory_bytes, memory_used_);
  if (left < Connection::kFirstLimit + kSendBufferBytes) return 0;
  return std::min(options_.window_bytes,
                  std::max<std::uint64_t>(left / kWindowShare, Connection::kFirstLimit));
}

void FastService::Touch(Session* session) {
  if (std::exchange(session->touched, true)) return;
  touched_.push_back(session);
}

void FastService::OnTurn(DatagramPort& port) {
  if (!port.blocked()) ServeTouched();
}

void FastService::ServeTouched() {
  if (touched_.empty()) return;
  std::vector<Session*> ended;
  turn_.swap(touched_);
  for (Session* session : turn_) {
    session->touched = false;
    if (!session->Serve()) ended.push_back(session);
    session->port()->Flush();  // it need not be the one whose turn it is
  }
  turn_.clear();
  for (Session* session : ended) OnSessionEnd(session);
  if (on_idle_) on_idle_();
}

void FastService::OnSessionEnd(Session* session) {
  const CloseReason& reason = session->connection().close_reason();
  if (reason.code == kCloseDone) {
    counters_.sessions_complete.Add();
  } else {
    counters_.sessions_broken.Add();
    if (log_limit_.Allow(loop_->now())) {
      spdlog::info("fast: connection from {} broke: {}{}{}",
                   ToEndpoint(session->path().peer).ToString(), reason.by_peer ? "client: " : "",
                   EscapeBytes(reason.text), log_limit_.Suppressed());
    }
  }
  memory_used_ -= session->memory_bytes();
  if (session->touched) std::erase(touched_, session);
  sessions_.erase(session->id());
  counters_.sessions.store(sessions_.size(), std::memory_order_relaxed);
  counters_.memory.store(memory_used_, std::memory_order_relaxed);
}

void FastService::Flush(DatagramPort& port) {
  for (;;) {
    port.Flush();
    bool again = false;
    port.TakeFailures([&](const SendBatch::Failure& failure) {
      counters_.send_failures.Add();
      const auto found = sessions_.find(failure.owner);
      if (failure.error != EMSGSIZE || found == sessions_.end()) return;
      // Each time its datagrams get smaller, or it ends.
      found->second->connection().DatagramTooBig(failure.datagram_bytes, loop_->now());
      Touch(found->second.get());
      again = true;
    });
    if (!again) return;
    ServeTouched();
  }
}

bool FastService::idle() const {
  return std::all_of(sessions_.begin(), sessions_.end(),
                     [](const auto& entry) { return entry.second->idle(); });
}

bool FastService::HasUnfinishedFiles() const {
  return std::any_of(sessions_.begin(), sessions_.end(),
                     [](const auto& entry) { return entry.second->has_unfinished_files(); });
}

bool FastService::HasOpenFiles() const {
  return std::any_of(sessions_.begin(), sessions_.end(),
                     [](const auto& entry) { return entry.second->has_open_files(); });
}

void FastService::CloseAll(std::string_view why) {
  for (const auto& [id, session] : sessions_) {
    session->connection().Close(kCloseServerEnds, why, loop_->now());
    session->Serve();
    session->port()->Flush();
  }
}

void FastService::Collect(daemon::MetricsPage& page) const {
  const auto count = [&](const char* name, const char* help, const Counter& counter,
                         const daemon::Labels& labels = {}) {
    page.Count(name, help, static_cast<double>(counter.Get()), labels);
  };
  count("udp_fast_hellos_total", "Hellos received.", counters_.hellos);
  count("udp_fast_cookies_total", "Hellos answered with a cookie.", counters_.cookies_sent);
  count("udp_fast_resets_total", "Packets of unknown connections answered with a reset.",
        counters_.resets_sent);
  count("udp_fast_sessions_begun_total", "Fast connections begun.", counters_.sessions_begun);
  count("udp_fast_sessions_ended_total", "Fast connections ended.", counters_.sessions_complete,
        {{"how", "complete"}});
  count("udp_fast_sessions_ended_total", "", counters_.sessions_broken, {{"how", "broken"}});
  count("udp_sends_failed_total", "Datagrams that the kernel refused to send.",
        counters_.send_failures);
  count("udp_fast_moves_total", "Connections that went on from another address.", counters_.moves);
  const auto refused = [&](const char* reason, const Counter& counter) {
    count("udp_fast_refused_total", "Datagrams and connections of fast mode refused.", counter,
          {{"reason", reason}});
  };
  refused("malformed", counters_.malformed);
  refused("tag", counters_.bad_tag);
  refused("version", counters_.bad_version);
  refused("cookie", counters_.bad_cookie);
  refused("seal", counters_.bad_seal);
  refused("address", counters_.wrong_address);
  refused("unknown_connection", counters_.unknown);
  refused("full", counters_.full);
  refused("shutdown", counters_.shutdown);
  count("udp_fast_files_total", "Files that came by fast mode.", counters_.files_stored,
        {{"outcome", "stored"}});
  count("udp_fast_files_total", "", counters_.files_failed, {{"outcome", "failed"}});
  count("udp_fast_content_bytes_total", "Content received by fast mode.", counters_.content_bytes);
  count("udp_fast_resumed_bytes_total", "Content that was there when a transfer was resumed.",
        counters_.resumed_bytes);
  page.Gauge("udp_fast_sessions", "Fast connections.",
             static_cast<double>(counters_.sessions.load(std::memory_order_relaxed)));
  page.Gauge("udp_fast_buffer_bytes", "Memory given to the buffers of fast connections.",
             static_cast<double>(counters_.memory.load(std::memory_order_relaxed)));
}

}  // namespace ds::udp_transfer
