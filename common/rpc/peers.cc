#include "common/rpc/peers.h"

#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/server_callback.h>
#include <openssl/rand.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <optional>
#include <utility>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/parse.h"
#include "common/fs/key_file.h"
#include "common/rpc/channel.h"
#include "common/rpc/cluster_session.h"
#include "common/rpc/status.h"
#include "proto/rpc/v1/cluster.grpc.pb.h"

namespace ds::rpc {
namespace {

constexpr const char* kClusterMetadata = "ds-cluster";
constexpr const char* kTagMetadata = "ds-cluster-tag-bin";
/// Of an answer: the session is not known.
constexpr const char* kBeginAnew = "ds-cluster-begin-anew";

template <typename Bytes>
Bytes Random() {
  Bytes bytes;
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()),
                   static_cast<int>(bytes.size())) == 1,
        "no random bytes");
  return bytes;
}

template <std::size_t kSize>
std::string ToString(const std::array<std::byte, kSize>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), kSize};
}

/// The key of --cluster-key; empty where there is none.
absl::StatusOr<std::string> ReadKey(const std::string& path) {
  if (path.empty()) return std::string();
  auto file = fs::ReadKeyFile(path);
  if (!file.ok()) {
    return InvalidArgument(fmt::format("--cluster-key {}: {}", path, Message(file.status())));
  }
  if (file->others_may_read) spdlog::warn("--cluster-key {}: others may read it", path);
  return std::move(file->key);
}

bool IsLoopback(const std::string& peer) {
  return peer.starts_with("ipv4:127.") || peer.starts_with("ipv6:[::1]") ||
         peer.starts_with("ipv6:%5B::1%5D") || peer.starts_with("unix:");
}

}  // namespace

absl::Status ClusterOptions::Validate() const {
  constexpr std::size_t kIdBytesMax = 64;
  const bool plain =
      cluster_id.find_first_not_of(
          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == std::string::npos;
  if (cluster_id.empty() || cluster_id.size() > kIdBytesMax || !plain) {
    return InvalidArgument(fmt::format(
        "--cluster-id \"{}\": not 1 to {} letters, digits, dots, hyphens or underscores",
        EscapeBytes(cluster_id), kIdBytesMax));
  }
  return ReadKey(key_file).status();
}

void AddClusterFlags(CLI::App& flags, ClusterOptions* options) {
  flags.add_option("--cluster-id", options->cluster_id, "Name that all peers of a cluster have")
      ->capture_default_str();
  flags.add_option("--cluster-key", options->key_file,
                   "File with the key that all peers of a cluster have, needed off loopback "
                   "(default: none)");
}

class PeerGuard::Impl : public v1::Cluster::CallbackService {
 public:
  enum Reason { kOtherCluster, kNoTag, kBadTag, kUnknownSession, kReplayed, kOffLoopback, kProof };

  Impl(std::string cluster_id, const std::string& key)
      : cluster_id_(std::move(cluster_id)), has_key_(!key.empty()) {
    if (has_key_) sessions_.emplace(cluster_id_, key, Random<Tag>());
  }

  grpc::ServerUnaryReactor* Challenge(grpc::CallbackServerContext* context,
                                      const v1::ChallengeRequest* request,
                                      v1::ChallengeResponse* response) override {
    auto* reactor = context->DefaultReactor();
    const auto nonce = ToArray<std::tuple_size_v<Nonce>>(request->client_nonce());
    if (const absl::Status status = CheckBegin(request->cluster_id(), nonce.has_value());
        !status.ok()) {
      reactor->Finish(ToGrpc(status));
      return reactor;
    }
    {
      const MutexLock lock(mutex_);
      response->set_server_nonce(ToString(
          sessions_->Challenge(*nonce, Random<Randomness>(), std::chrono::steady_clock::now())));
    }
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerUnaryReactor* Prove(grpc::CallbackServerContext* context,
                                  const v1::ProveRequest* request,
                                  v1::ProveResponse* response) override {
    auto* reactor = context->DefaultReactor();
    const auto client_nonce = ToArray<std::tuple_size_v<Nonce>>(request->client_nonce());
    const auto server_nonce = ToArray<std::tuple_size_v<ServerNonce>>(request->server_nonce());
    const auto proof = ToArray<std::tuple_size_v<Tag>>(request->proof());
    const bool formed = client_nonce && server_nonce && proof;
    if (const absl::Status status = CheckBegin(request->cluster_id(), formed); !status.ok()) {
      reactor->Finish(ToGrpc(status));
      return reactor;
    }
    std::optional<Tag> ours;
    {
      const MutexLock lock(mutex_);
      ours =
          sessions_->Prove(*client_nonce, *server_nonce, *proof, std::chrono::steady_clock::now());
    }
    if (!ours) {
      reactor->Finish(ToGrpc(Deny(kProof, "no proof of the cluster's key (see --cluster-key)")));
      return reactor;
    }
    response->set_proof(ToString(*ours));
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  absl::Status Admit(grpc::CallbackServerContext* context, std::string_view method) {
    const auto& metadata = context->client_metadata();
    // One value of each: a second one is nobody's mistake.
    const auto value = [&](const char* name) -> std::optional<std::string> {
      const auto [first, last] = metadata.equal_range(name);
      if (first == last || std::next(first) != last) return std::nullopt;
      return std::string(first->second.data(), first->second.size());
    };
    if (value(kClusterMetadata) != cluster_id_) {
      return Deny(kOtherCluster, fmt::format("not of cluster \"{}\"", cluster_id_));
    }
    if (!has_key_) {
      // A certificate proves no peer: a server with --tls-ca has every client of its API show one.
      if (IsLoopback(context->peer())) return absl::OkStatus();
      return Deny(kOffLoopback, "peers off loopback need --cluster-key");
    }
    const auto tag = value(kTagMetadata);
    const auto call = tag ? CallTag::Decode(*tag) : std::nullopt;
    if (!call) return Deny(kNoTag, "no tag of a session (see --cluster-key)");
    ServerSessions::Verdict verdict{};
    {
      const MutexLock lock(mutex_);
      verdict = sessions_->Check(*call, method, std::chrono::steady_clock::now());
    }
    switch (verdict) {
      case ServerSessions::Verdict::kAccepted:
        return absl::OkStatus();
      case ServerSessions::Verdict::kUnknownSession:
        context->AddTrailingMetadata(kBeginAnew, "1");
        return Deny(kUnknownSession, "no such session");
      case ServerSessions::Verdict::kWrongTag:
        return Deny(kBadTag, "wrong tag");
      case ServerSessions::Verdict::kReplayed:
        break;
    }
    return Deny(kReplayed, "this call was made already");
  }

  void Register(daemon::Metrics* metrics) {
    metrics_ = metrics->Register([this](daemon::MetricsPage& page) {
      for (std::size_t i = 0; i < denied_.size(); ++i) {
        page.Count("rpc_peer_calls_denied_total", "Calls of peers that were refused",
                   static_cast<double>(denied_[i].load(std::memory_order_relaxed)),
                   {{"reason", kReasons[i]}});
      }
      const MutexLock lock(mutex_);
      page.Gauge("rpc_peer_sessions", "Sessions of peers with the cluster's key",
                 sessions_ ? static_cast<double>(sessions_->size()) : 0);
    });
  }

 private:
  static constexpr std::array<const char*, 7> kReasons = {
      "other_cluster", "no_tag",       "wrong_tag", "unknown_session",
      "replayed",      "off_loopback", "no_proof"};

  absl::Status Deny(Reason reason, std::string_view why) {
    denied_[reason].fetch_add(1, std::memory_order_relaxed);
    return Error(absl::StatusCode::kPermissionDenied, fmt::format("peer call: {}", why));
  }

  absl::Status CheckBegin(const std::string& cluster_id, bool formed) {
    if (cluster_id != cluster_id_) {
      return Deny(kOtherCluster, fmt::format("not of cluster \"{}\"", cluster_id_));
    }
    if (!has_key_) return Deny(kProof, "this peer has no key (see --cluster-key)");
    if (!formed) return InvalidArgument("begin a session: malformed");
    return absl::OkStatus();
  }

  const std::string cluster_id_;
  const bool has_key_;
  Mutex mutex_;
  std::optional<ServerSessions> sessions_ ABSL_GUARDED_BY(mutex_);
  std::array<std::atomic<std::uint64_t>, kReasons.size()> denied_{};
  daemon::Metrics::Registration metrics_;
};

PeerGuard::PeerGuard(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PeerGuard::~PeerGuard() = default;

absl::StatusOr<std::unique_ptr<PeerGuard>> PeerGuard::Create(const ClusterOptions& options,
                                                             daemon::Metrics* metrics) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(const std::string key, ReadKey(options.key_file));
  auto impl = std::make_unique<Impl>(options.cluster_id, key);
  if (metrics != nullptr) impl->Register(metrics);
  return std::unique_ptr<PeerGuard>(new PeerGuard(std::move(impl)));
}

grpc::Service* PeerGuard::service() { return impl_.get(); }

absl::Status PeerGuard::Admit(grpc::CallbackServerContext* context, std::string_view method) {
  return impl_->Admit(context, method);
}

class PeerChannel::Impl {
 public:
  Impl(std::string cluster_id, std::string key, const std::shared_ptr<grpc::Channel>& channel)
      : cluster_id_(std::move(cluster_id)),
        key_(std::move(key)),
        stub_(v1::Cluster::NewStub(channel)) {}

  absl::Status Call(std::string_view method, Duration timeout,
                    const std::function<grpc::Status(grpc::ClientContext*)>& make) {
    const TimePoint deadline = std::chrono::steady_clock::now() + timeout;
    for (bool again = false;; again = true) {
      std::uint64_t generation = 0;
      std::optional<CallTag> tag;
      if (!key_.empty()) {
        RETURN_IF_ERROR(NextTag(method, deadline, &tag, &generation));
      }
      ASSIGN_OR_RETURN(const Duration left, Left(deadline));
      CallContext context(left);
      context.get()->AddMetadata(kClusterMetadata, cluster_id_);
      if (tag) context.get()->AddMetadata(kTagMetadata, tag->Encode());
      absl::Status status = FromGrpc(make(context.get()));
      const bool unknown = absl::IsPermissionDenied(status) &&
                           context.get()->GetServerTrailingMetadata().count(kBeginAnew) != 0;
      if (!unknown || again) return status;
      const MutexLock lock(mutex_);
      // Another call may have begun a new session meanwhile.
      if (generation == generation_) session_.reset();
    }
  }

 private:
  static absl::StatusOr<Duration> Left(TimePoint deadline) {
    const Duration left = deadline - std::chrono::steady_clock::now();
    if (left > Duration::zero()) return left;
    return Error(absl::StatusCode::kDeadlineExceeded, "call a peer: no time left for it");
  }

  absl::Status NextTag(std::string_view method, TimePoint deadline, std::optional<CallTag>* tag,
                       std::uint64_t* generation) {
    const auto take = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      *tag = session_->Next(method);
      *generation = generation_;
      return absl::OkStatus();
    };
    {
      const MutexLock lock(mutex_);
      if (session_) return take();
    }
    // Not under the lock: several calls may begin a session each, and the last one is kept.
    ASSIGN_OR_RETURN(const ClientSession session, Begin(deadline));
    const MutexLock lock(mutex_);
    session_ = session;
    ++generation_;
    return take();
  }

  absl::StatusOr<ClientSession> Begin(TimePoint deadline) {
    ClientHandshake handshake(cluster_id_, key_, Random<Nonce>());
    v1::ChallengeRequest challenge;
    challenge.set_cluster_id(cluster_id_);
    challenge.set_client_nonce(ToString(handshake.nonce()));
    v1::ChallengeResponse challenged;
    {
      ASSIGN_OR_RETURN(const Duration left, Left(deadline));
      CallContext context(left);
      RETURN_IF_ERROR(FromGrpc(stub_->Challenge(context.get(), challenge, &challenged)));
    }
    const auto denied = [](std::string_view why) {
      return Error(absl::StatusCode::kPermissionDenied, fmt::format("begin a session: {}", why));
    };
    const auto server_nonce = ToArray<std::tuple_size_v<ServerNonce>>(challenged.server_nonce());
    if (!server_nonce) return denied("the answer is malformed");
    v1::ProveRequest prove;
    prove.set_cluster_id(cluster_id_);
    prove.set_client_nonce(challenge.client_nonce());
    prove.set_server_nonce(challenged.server_nonce());
    prove.set_proof(ToString(handshake.Prove(*server_nonce)));
    v1::ProveResponse proved;
    {
      ASSIGN_OR_RETURN(const Duration left, Left(deadline));
      CallContext context(left);
      RETURN_IF_ERROR(FromGrpc(stub_->Prove(context.get(), prove, &proved)));
    }
    const auto proof = ToArray<std::tuple_size_v<Tag>>(proved.proof());
    auto session = proof ? handshake.Finish(*proof) : std::nullopt;
    if (!session) return denied("the server has not the cluster's key");
    return *session;
  }

  const std::string cluster_id_;
  const std::string key_;
  const std::unique_ptr<v1::Cluster::Stub> stub_;
  Mutex mutex_;
  std::optional<ClientSession> session_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
};

PeerChannel::PeerChannel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PeerChannel::~PeerChannel() = default;

absl::StatusOr<std::unique_ptr<PeerChannel>> PeerChannel::Create(
    const ClusterOptions& options, const std::shared_ptr<grpc::Channel>& channel) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(std::string key, ReadKey(options.key_file));
  return std::unique_ptr<PeerChannel>(
      new PeerChannel(std::make_unique<Impl>(options.cluster_id, std::move(key), channel)));
}

absl::Status PeerChannel::Call(std::string_view method, Duration timeout,
                               const std::function<grpc::Status(grpc::ClientContext*)>& make) {
  return impl_->Call(method, timeout, make);
}

}  // namespace ds::rpc
