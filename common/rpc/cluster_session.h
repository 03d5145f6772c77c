#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/base/time.h"

// How two programs that have one key know each other, without sending it. Pure: bytes, times and
// random bytes come in. All tags are HMAC-SHA-256 under the cluster's key K:
//
//   client -> server  cluster id, client nonce Nc (32 random bytes)
//   server -> client  server nonce Ns: 16 random bytes, the time, a tag of these, of Nc and of the
//                     cluster id under a secret of the server
//   client -> server  cluster id, Nc, Ns, HMAC(K, "client" T)    where T = cluster id, Nc, Ns
//   server -> client  HMAC(K, "server" T)
//   each call         session id | counter | HMAC(Ks, "call" session id, counter, method)
//                     where session id = HMAC(K, "id" T), Ks = HMAC(K, "key" T)
//
// The server keeps nothing for a client that has not proved itself: Ns carries what it must
// remember. A server nonce is good for ten seconds, for one server process. A proof that is sent
// again meets the session it made, which yields nothing to whoever has not the key.
//
// What it does: nobody without the key makes a call, or answers one in the name of the cluster at
// its begin; a call that was recorded cannot be made again, nor as another method. What it does
// not: requests and answers are neither encrypted nor part of any tag, so somebody on the path can
// read and change them, or take over a connection once it has begun. Where such a path lies between
// peers, use TLS.

namespace ds::rpc {

using Nonce = std::array<std::byte, 32>;
using Tag = std::array<std::byte, 32>;  ///< an HMAC-SHA-256
using SessionId = std::array<std::byte, 16>;
using ServerNonce = std::array<std::byte, 48>;
using Randomness = std::array<std::byte, 16>;

/// What a call carries.
struct CallTag {
  static constexpr std::size_t kBytes = 56;

  SessionId session{};
  std::uint64_t counter = 0;  ///< from 1, no two calls of a session with the same one
  Tag tag{};

  /// Session, counter (big endian), tag.
  std::string Encode() const;
  static std::optional<CallTag> Decode(std::string_view bytes);
};

/// Bytes of a peer as an array; nothing when their number is another.
template <std::size_t kSize>
std::optional<std::array<std::byte, kSize>> ToArray(std::string_view bytes) {
  if (bytes.size() != kSize) return std::nullopt;
  std::array<std::byte, kSize> array;
  for (std::size_t i = 0; i < kSize; ++i) array[i] = static_cast<std::byte>(bytes[i]);
  return array;
}

/// Which of the last counters of a session were seen. Calls overtake each other by no more than
/// kWindow, or are refused.
class ReplayWindow {
 public:
  static constexpr std::size_t kWindow = 1024;
  /// False: seen already, or too old to know.
  bool Accept(std::uint64_t counter);

 private:
  std::uint64_t highest_ = 0;
  std::bitset<kWindow> seen_;  ///< by counter modulo kWindow
};

/// A session as the client has it: numbers its calls. Not thread-safe.
class ClientSession {
 public:
  ClientSession(SessionId id, Tag key) : id_(id), key_(key) {}
  /// For the next call, of the method with this full name.
  CallTag Next(std::string_view method);

 private:
  SessionId id_;
  Tag key_;
  std::uint64_t counter_ = 0;
};

/// The client's side of one handshake. Not thread-safe.
class ClientHandshake {
 public:
  /// REQUIRES: key is not empty.
  ClientHandshake(std::string cluster_id, std::string key, Nonce nonce);

  const Nonce& nonce() const { return nonce_; }
  /// What is to be sent in answer to the server's nonce.
  Tag Prove(const ServerNonce& server_nonce);
  /// Nothing: the server has not the key. REQUIRES: Prove() was called.
  std::optional<ClientSession> Finish(const Tag& server_proof) const;

 private:
  const std::string cluster_id_;
  const std::string key_;
  const Nonce nonce_;
  std::string transcript_;
};

/// The server's side, for all clients. Not thread-safe.
class ServerSessions {
 public:
  static constexpr std::size_t kSessionsMax = 4096;  ///< beyond, the longest unused one goes
  static constexpr Duration kNonceLife = std::chrono::seconds(10);
  static constexpr Duration kIdleMax = std::chrono::minutes(10);

  enum class Verdict {
    kAccepted,
    kUnknownSession,  ///< expired, or of another process: the client may make a new one
    kWrongTag,
    kReplayed,
  };

  /// REQUIRES: key is not empty.
  ServerSessions(std::string cluster_id, std::string key, Tag secret);

  ServerNonce Challenge(const Nonce& client_nonce, const Randomness& random, TimePoint now) const;

  /// The server's own proof, and a session from now on. Nothing: a nonce that is not ours or is too
  /// old, or a proof without the key.
  std::optional<Tag> Prove(const Nonce& client_nonce, const ServerNonce& server_nonce,
                           const Tag& proof, TimePoint now);

  /// Whether a call is made by who holds the session, and for the first time.
  Verdict Check(const CallTag& call, std::string_view method, TimePoint now);

  std::size_t size() const { return sessions_.size(); }

 private:
  struct Session {
    SessionId id;
    Tag key;
    ReplayWindow window;
    TimePoint used;
  };

  void Expire(TimePoint now);

  const std::string cluster_id_;
  const std::string key_;
  const Tag secret_;           ///< of the nonces
  std::list<Session> by_use_;  ///< last used first
  std::map<SessionId, std::list<Session>::iterator> sessions_;
};

}  // namespace ds::rpc
