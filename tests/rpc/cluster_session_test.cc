#include "common/rpc/cluster_session.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace ds::rpc {
namespace {

using Verdict = ServerSessions::Verdict;

constexpr const char* kKey = "a key of the cluster";
constexpr const char* kMethod = "/ds.x.v1.Peer/Append";
constexpr TimePoint kNow{std::chrono::hours(1000)};

Nonce NonceOf(int i) {
  Nonce nonce{};
  nonce[0] = static_cast<std::byte>(i);
  nonce[1] = static_cast<std::byte>(i >> 8);
  return nonce;
}

ServerSessions Sessions(const std::string& cluster = "one", const std::string& key = kKey) {
  Tag secret{};
  secret.fill(std::byte{7});
  return {cluster, key, secret};
}

std::optional<ClientSession> Begin(ServerSessions& server, ClientHandshake client,
                                   TimePoint now = kNow) {
  const ServerNonce nonce = server.Challenge(client.nonce(), Randomness{}, now);
  const auto proof = server.Prove(client.nonce(), nonce, client.Prove(nonce), now);
  return proof ? client.Finish(*proof) : std::nullopt;
}

ClientHandshake Client(int nonce = 1) { return {"one", kKey, NonceOf(nonce)}; }

TEST(ClusterSessionTest, WhoHasTheKeyMakesCalls) {
  ServerSessions server = Sessions();
  auto session = Begin(server, Client());
  ASSERT_TRUE(session);
  for (int i = 0; i < 5000; ++i) {
    EXPECT_EQ(server.Check(session->Next(kMethod), kMethod, kNow), Verdict::kAccepted) << i;
  }
}

TEST(ClusterSessionTest, AnotherKeyOrClusterProvesNothing) {
  ServerSessions server = Sessions();
  EXPECT_FALSE(Begin(server, {"one", "another key, as long", NonceOf(1)}));
  EXPECT_FALSE(Begin(server, {"two", kKey, NonceOf(1)}));
  EXPECT_EQ(server.size(), 0U);
}

TEST(ClusterSessionTest, AServerWithoutTheKeyIsFoundOut) {
  ClientHandshake client = Client();
  ServerSessions impostor = Sessions("one", "another key, as long");
  const ServerNonce nonce = impostor.Challenge(client.nonce(), Randomness{}, kNow);
  const Tag proof = client.Prove(nonce);
  // What it can send: noughts, or the client's own proof.
  EXPECT_FALSE(client.Finish(Tag{}));
  EXPECT_FALSE(client.Finish(proof));
}

TEST(ClusterSessionTest, EveryBitOfAHandshakeCounts) {
  ServerSessions server = Sessions();
  ClientHandshake client = Client();
  const ServerNonce nonce = server.Challenge(client.nonce(), Randomness{}, kNow);
  const Tag proof = client.Prove(nonce);
  for (std::size_t bit = 0; bit < 8 * nonce.size(); ++bit) {
    ServerNonce wrong = nonce;
    wrong[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(server.Prove(client.nonce(), wrong, proof, kNow)) << bit;
    // Even from who has the key: the nonce is not the server's.
    EXPECT_FALSE(server.Prove(client.nonce(), wrong, Client().Prove(wrong), kNow)) << bit;
  }
  for (std::size_t bit = 0; bit < 8 * proof.size(); ++bit) {
    Tag wrong = proof;
    wrong[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(server.Prove(client.nonce(), nonce, wrong, kNow)) << bit;
  }
  EXPECT_FALSE(server.Prove(NonceOf(2), nonce, proof, kNow));
  EXPECT_EQ(server.size(), 0U);
  EXPECT_TRUE(server.Prove(client.nonce(), nonce, proof, kNow));
}

TEST(ClusterSessionTest, AChallengeIsGoodForTenSeconds) {
  ServerSessions server = Sessions();
  ClientHandshake client = Client();
  const ServerNonce nonce = server.Challenge(client.nonce(), Randomness{}, kNow);
  const Tag proof = client.Prove(nonce);
  const TimePoint last = kNow + ServerSessions::kNonceLife;
  EXPECT_FALSE(server.Prove(client.nonce(), nonce, proof, last + Duration(1)));
  EXPECT_TRUE(server.Prove(client.nonce(), nonce, proof, last));
}

TEST(ClusterSessionTest, AProofSentAgainMeetsItsOwnSession) {
  ServerSessions server = Sessions();
  ClientHandshake client = Client();
  const ServerNonce nonce = server.Challenge(client.nonce(), Randomness{}, kNow);
  const Tag proof = client.Prove(nonce);
  auto session = client.Finish(*server.Prove(client.nonce(), nonce, proof, kNow));
  const CallTag call = session->Next(kMethod);
  EXPECT_EQ(server.Check(call, kMethod, kNow), Verdict::kAccepted);
  EXPECT_TRUE(server.Prove(client.nonce(), nonce, proof, kNow));
  EXPECT_EQ(server.size(), 1U);
  EXPECT_EQ(server.Check(call, kMethod, kNow), Verdict::kReplayed);  // it did not begin anew
}

TEST(ClusterSessionTest, ACallIsNotMadeTwiceNorAsAnotherMethod) {
  ServerSessions server = Sessions();
  auto session = Begin(server, Client());
  const CallTag call = session->Next(kMethod);
  EXPECT_EQ(server.Check(call, "/ds.x.v1.Peer/Other", kNow), Verdict::kWrongTag);
  CallTag later = call;
  ++later.counter;
  EXPECT_EQ(server.Check(later, kMethod, kNow), Verdict::kWrongTag);
  EXPECT_EQ(server.Check(call, kMethod, kNow), Verdict::kAccepted);
  EXPECT_EQ(server.Check(call, kMethod, kNow), Verdict::kReplayed);
}

TEST(ClusterSessionTest, EveryBitOfACallsTagCounts) {
  ServerSessions server = Sessions();
  auto session = Begin(server, Client());
  const std::string bytes = session->Next(kMethod).Encode();
  ASSERT_EQ(bytes.size(), CallTag::kBytes);
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string wrong = bytes;
    wrong[bit / 8] = static_cast<char>(wrong[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(server.Check(*CallTag::Decode(wrong), kMethod, kNow), Verdict::kAccepted) << bit;
  }
  EXPECT_EQ(server.Check(*CallTag::Decode(bytes), kMethod, kNow), Verdict::kAccepted);
}

TEST(ClusterSessionTest, ATagOfAnotherLengthIsNone) {
  for (std::size_t size = 0; size < 200; ++size) {
    EXPECT_EQ(CallTag::Decode(std::string(size, 'x')).has_value(), size == CallTag::kBytes);
  }
}

TEST(ClusterSessionTest, ASessionIsForgottenWhenItIsIdle) {
  ServerSessions server = Sessions();
  auto session = Begin(server, Client());
  const TimePoint last = kNow + ServerSessions::kIdleMax;
  EXPECT_EQ(server.Check(session->Next(kMethod), kMethod, last), Verdict::kAccepted);
  const TimePoint after = last + ServerSessions::kIdleMax + Duration(1);
  EXPECT_EQ(server.Check(session->Next(kMethod), kMethod, after), Verdict::kUnknownSession);
  EXPECT_TRUE(Begin(server, Client(2), after));
  EXPECT_EQ(server.size(), 1U);
}

TEST(ClusterSessionTest, AnotherProcessKnowsNoSessionOfTheFirst) {
  ServerSessions server = Sessions();
  auto session = Begin(server, Client());
  ServerSessions restarted = Sessions();
  EXPECT_EQ(restarted.Check(session->Next(kMethod), kMethod, kNow), Verdict::kUnknownSession);
}

TEST(ClusterSessionTest, OfTooManySessionsTheLongestUnusedGoes) {
  ServerSessions server = Sessions();
  auto first = Begin(server, Client(0));
  auto second = Begin(server, Client(1));
  for (int i = 2; i < static_cast<int>(ServerSessions::kSessionsMax); ++i) {
    ASSERT_TRUE(Begin(server, Client(i)));
  }
  EXPECT_EQ(server.Check(first->Next(kMethod), kMethod, kNow), Verdict::kAccepted);
  ASSERT_TRUE(Begin(server, Client(5000)));
  EXPECT_EQ(server.size(), ServerSessions::kSessionsMax);
  EXPECT_EQ(server.Check(first->Next(kMethod), kMethod, kNow), Verdict::kAccepted);
  EXPECT_EQ(server.Check(second->Next(kMethod), kMethod, kNow), Verdict::kUnknownSession);
}

TEST(ReplayWindowTest, AgreesWithTheDefinition) {
  // The highest so far and those less than a window below it, once each; everything else not.
  ReplayWindow window;
  std::set<std::uint64_t> seen;
  std::uint64_t highest = 0;
  std::uint64_t draw = 1;
  for (int i = 0; i < 50'000; ++i) {
    draw = draw * 6364136223846793005 + 1442695040888963407;
    const std::uint64_t jump = (draw >> 33U) % 100 == 0 ? 5000 : 1500;
    const std::uint64_t base = highest > 1400 ? highest - 1400 : 0;
    const std::uint64_t counter = base + (draw >> 40U) % jump;
    const bool old = counter == 0 || counter + ReplayWindow::kWindow <= highest;
    EXPECT_EQ(window.Accept(counter), !old && !seen.contains(counter)) << counter;
    if (!old) seen.insert(counter);
    highest = std::max(highest, counter);
  }
  EXPECT_TRUE(window.Accept(UINT64_MAX));
  EXPECT_FALSE(window.Accept(UINT64_MAX));
  EXPECT_TRUE(window.Accept(UINT64_MAX - 1023));
  EXPECT_FALSE(window.Accept(UINT64_MAX - 1024));
}

}  // namespace
}  // namespace ds::rpc
