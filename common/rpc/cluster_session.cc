#include "common/rpc/cluster_session.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <utility>

#include "common/base/big_endian.h"
#include "common/base/check.h"

namespace ds::rpc {
namespace {

constexpr std::string_view kProtocol = "ds-cluster-v1 ";
constexpr std::size_t kRandomBytes = 16;
constexpr std::size_t kTimeBytes = 8;

template <std::size_t kSize>
std::string_view View(const std::array<std::byte, kSize>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), kSize};
}

/// So that no two lists of fields are the same bytes.
void AppendField(std::string* out, std::string_view field) {
  AppendU64(out, field.size());
  out->append(field);
}

Tag Hmac(std::string_view key, std::string_view label, std::string_view message) {
  std::string labelled(kProtocol);
  AppendField(&labelled, label);
  labelled.append(message);
  Tag tag;
  unsigned size = 0;
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(labelled.data()), labelled.size(),
             reinterpret_cast<unsigned char*>(tag.data()), &size) != nullptr &&
        size == tag.size());
  return tag;
}

/// In a time that does not depend on the bytes.
bool Equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string Transcript(const std::string& cluster_id, const Nonce& client_nonce,
                       const ServerNonce& server_nonce) {
  std::string transcript;
  AppendField(&transcript, cluster_id);
  AppendField(&transcript, View(client_nonce));
  AppendField(&transcript, View(server_nonce));
  return transcript;
}

SessionId IdOf(std::string_view key, std::string_view transcript) {
  const Tag tag = Hmac(key, "id", transcript);
  SessionId id;
  std::copy_n(tag.begin(), id.size(), id.begin());
  return id;
}

Tag CallTagOf(const Tag& key, const SessionId& session, std::uint64_t counter,
              std::string_view method) {
  std::string message;
  AppendField(&message, View(session));
  AppendU64(&message, counter);
  AppendField(&message, method);
  return Hmac(View(key), "call", message);
}

/// What the server has to remember of its challenge, for the tag in its nonce.
std::string Remembered(const std::string& cluster_id, const Nonce& client_nonce,
                       std::string_view random_and_time) {
  std::string remembered;
  AppendField(&remembered, cluster_id);
  AppendField(&remembered, View(client_nonce));
  AppendField(&remembered, random_and_time);
  return remembered;
}

}  // namespace

std::string CallTag::Encode() const {
  std::string bytes(View(session));
  AppendU64(&bytes, counter);
  bytes.append(View(tag));
  return bytes;
}

std::optional<CallTag> CallTag::Decode(std::string_view bytes) {
  if (bytes.size() != kBytes) return std::nullopt;
  CallTag call;
  call.session = *ToArray<16>(bytes.substr(0, 16));
  call.counter = *BigEndianReader(bytes.substr(16, 8)).U64();
  call.tag = *ToArray<32>(bytes.substr(24));
  return call;
}

bool ReplayWindow::Accept(std::uint64_t counter) {
  if (counter == 0) return false;
  if (counter > highest_) {
    // What lies between was not seen; what falls out of the window makes room for it.
    const std::uint64_t steps = std::min<std::uint64_t>(counter - highest_, kWindow);
    for (std::uint64_t i = 0; i < steps; ++i) seen_.reset((counter - i) % kWindow);
    highest_ = counter;
  } else if (highest_ - counter >= kWindow || seen_.test(counter % kWindow)) {
    return false;
  }
  seen_.set(counter % kWindow);
  return true;
}

CallTag ClientSession::Next(std::string_view method) {
  ++counter_;
  return {id_, counter_, CallTagOf(key_, id_, counter_, method)};
}

ClientHandshake::ClientHandshake(std::string cluster_id, std::string key, Nonce nonce)
    : cluster_id_(std::move(cluster_id)), key_(std::move(key)), nonce_(nonce) {
  CHECK(!key_.empty());
}

Tag ClientHandshake::Prove(const ServerNonce& server_nonce) {
  transcript_ = Transcript(cluster_id_, nonce_, server_nonce);
  return Hmac(key_, "client", transcript_);
}

std::optional<ClientSession> ClientHandshake::Finish(const Tag& server_proof) const {
  CHECK(!transcript_.empty());
  if (!Equal(View(Hmac(key_, "server", transcript_)), View(server_proof))) return std::nullopt;
  return ClientSession(IdOf(key_, transcript_), Hmac(key_, "key", transcript_));
}

ServerSessions::ServerSessions(std::string cluster_id, std::string key, Tag secret)
    : cluster_id_(std::move(cluster_id)), key_(std::move(key)), secret_(secret) {
  CHECK(!key_.empty());
}

ServerNonce ServerSessions::Challenge(const Nonce& client_nonce, const Randomness& random,
                                      TimePoint now) const {
  std::string bytes(View(random));
  AppendU64(&bytes, static_cast<std::uint64_t>(now.time_since_epoch().count()));
  const Tag tag = Hmac(View(secret_), "nonce", Remembered(cluster_id_, client_nonce, bytes));
  bytes.append(View(tag).substr(0, std::tuple_size_v<ServerNonce> - bytes.size()));
  return *ToArray<std::tuple_size_v<ServerNonce>>(bytes);
}

std::optional<Tag> ServerSessions::Prove(const Nonce& client_nonce, const ServerNonce& server_nonce,
                                         const Tag& proof, TimePoint now) {
  const std::string_view random_and_time = View(server_nonce).substr(0, kRandomBytes + kTimeBytes);
  const std::string_view tag = View(server_nonce).substr(random_and_time.size());
  const Tag ours =
      Hmac(View(secret_), "nonce", Remembered(cluster_id_, client_nonce, random_and_time));
  if (!Equal(View(ours).substr(0, tag.size()), tag)) return std::nullopt;
  const std::uint64_t made_at = *BigEndianReader(random_and_time.substr(kRandomBytes)).U64();
  const TimePoint made{Duration(static_cast<Duration::rep>(made_at))};
  if (now - made > kNonceLife) return std::nullopt;
  const std::string transcript = Transcript(cluster_id_, client_nonce, server_nonce);
  if (!Equal(View(Hmac(key_, "client", transcript)), View(proof))) return std::nullopt;

  const SessionId id = IdOf(key_, transcript);
  if (!sessions_.contains(id)) {
    Expire(now);
    by_use_.push_front({id, Hmac(key_, "key", transcript), {}, now});
    sessions_.emplace(id, by_use_.begin());
  }
  return Hmac(key_, "server", transcript);
}

ServerSessions::Verdict ServerSessions::Check(const CallTag& call, std::string_view method,
                                              TimePoint now) {
  const auto found = sessions_.find(call.session);
  if (found == sessions_.end() || now - found->second->used > kIdleMax) {
    return Verdict::kUnknownSession;
  }
  Session& session = *found->second;
  const Tag ours = CallTagOf(session.key, session.id, call.counter, method);
  if (!Equal(View(ours), View(call.tag))) return Verdict::kWrongTag;
  if (!session.window.Accept(call.counter)) return Verdict::kReplayed;
  session.used = now;
  by_use_.splice(by_use_.begin(), by_use_, found->second);
  return Verdict::kAccepted;
}

void ServerSessions::Expire(TimePoint now) {
  while (!by_use_.empty() &&
         (by_use_.size() >= kSessionsMax || now - by_use_.back().used > kIdleMax)) {
    sessions_.erase(by_use_.back().id);
    by_use_.pop_back();
  }
}

}  // namespace ds::rpc
