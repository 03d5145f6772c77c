#include "common/rpc/peers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "common/rpc/cluster_session.h"
#include "proto/rpc/v1/cluster.grpc.pb.h"
#include "tests/rpc/peer_server.h"

namespace ds::rpc {
namespace {

using ::testing::HasSubstr;

TEST_F(PeersTest, PeersWithTheKeyCallEachOther) {
  PeerServer server(With("one", "key"));
  EchoClient client(server.echo->address());
  const auto peer = PeerChannel::Create(With("one", "key"), client.channel);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Call(**peer, client).ok());
  EXPECT_EQ(server.calls, 3);
  EXPECT_THAT(server.metrics.Text(), HasSubstr("rpc_peer_sessions 1\n"));
}

TEST_F(PeersTest, CallsThatOvertakeEachOtherAreAllMade) {
  PeerServer server(With("one", "key"));
  EchoClient client(server.echo->address());
  const auto peer = PeerChannel::Create(With("one", "key"), client.channel);
  std::atomic<int> made{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        for (int j = 0; j < 50; ++j) made += Call(**peer, client).ok() ? 1 : 0;
      });
    }
  }
  EXPECT_EQ(made, 400);
  EXPECT_EQ(server.calls, 400);
}

TEST_F(PeersTest, WhoHasAnotherKeyOrNoneIsRefusedAndCounted) {
  PeerServer server(With("one", "key"));
  EXPECT_TRUE(Denied(Call(server, With("one", "another"))));
  EXPECT_TRUE(server.Denied("no_proof", 1));
  EXPECT_TRUE(Denied(Call(server, With("one", ""))));
  EXPECT_TRUE(server.Denied("no_tag", 1));
  EXPECT_TRUE(Denied(Call(server, With("two", "key"))));
  EXPECT_TRUE(Denied(Call(server, With("two", ""))));
  EXPECT_TRUE(server.Denied("other_cluster", 2));
  // A client of the public service, that knows nothing of all this.
  EXPECT_TRUE(Denied(EchoClient(server.echo->address()).Echo("x").status()));
  EXPECT_TRUE(server.Denied("other_cluster", 3));
  EXPECT_EQ(server.calls, 0);
}

TEST_F(PeersTest, WithoutAKeyLoopbackIsTrustedAndTheClusterMustStillFit) {
  PeerServer server(With("one", ""));
  EXPECT_TRUE(Call(server, With("one", "")).ok());
  EXPECT_TRUE(Denied(Call(server, With("two", ""))));
  // Who believes that there is a key finds that there is none, and makes no call.
  EXPECT_TRUE(Denied(Call(server, With("one", "key"))));
  EXPECT_EQ(server.calls, 1);
}

/// Begins sessions by hand, so that what is sent can be sent again.
class PeersByHandTest : public PeersTest {
 protected:
  static constexpr const char* kKey = "key, of sixteen bytes";

  std::optional<ClientSession> Begin(EchoClient& client) {
    const auto stub = v1::Cluster::NewStub(client.channel);
    ClientHandshake handshake("one", kKey, Nonce{});
    v1::ChallengeRequest challenge;
    challenge.set_cluster_id("one");
    challenge.set_client_nonce(std::string(32, '\0'));
    v1::ChallengeResponse challenged;
    CallContext first(std::chrono::seconds(30));
    EXPECT_TRUE(stub->Challenge(first.get(), challenge, &challenged).ok());
    v1::ProveRequest prove;
    prove.set_cluster_id("one");
    prove.set_client_nonce(challenge.client_nonce());
    prove.set_server_nonce(challenged.server_nonce());
    const Tag proof = handshake.Prove(*ToArray<48>(challenged.server_nonce()));
    prove.set_proof(std::string(reinterpret_cast<const char*>(proof.data()), proof.size()));
    v1::ProveResponse proved;
    CallContext second(std::chrono::seconds(30));
    EXPECT_TRUE(stub->Prove(second.get(), prove, &proved).ok());
    return handshake.Finish(*ToArray<32>(proved.proof()));
  }

  static absl::Status Send(EchoClient& client, const std::string& tag) {
    CallContext context(std::chrono::seconds(30));
    context.get()->AddMetadata("ds-cluster", "one");
    context.get()->AddMetadata("ds-cluster-tag-bin", tag);
    ReverseResponse response;
    return FromGrpc(client.stub->Reverse(context.get(), {}, &response));
  }
};

TEST_F(PeersByHandTest, TheSameTagAdmitsOneCall) {
  PeerServer server(With("one", "key"));
  EchoClient client(server.echo->address());
  auto session = Begin(client);
  ASSERT_TRUE(session);
  const std::string tag = session->Next(kMethod).Encode();
  EXPECT_TRUE(Send(client, tag).ok());
  EXPECT_TRUE(Denied(Send(client, tag)));
  EXPECT_TRUE(server.Denied("replayed", 1));
  EXPECT_TRUE(Denied(Send(client, session->Next("/ds.compute.v1.Text/Split").Encode())));
  EXPECT_TRUE(server.Denied("wrong_tag", 1));
  EXPECT_TRUE(Denied(Send(client, ClientSession(SessionId{}, Tag{}).Next(kMethod).Encode())));
  EXPECT_TRUE(server.Denied("unknown_session", 1));
  EXPECT_TRUE(Denied(Send(client, "short")));
  EXPECT_TRUE(server.Denied("no_tag", 1));
  EXPECT_TRUE(Send(client, session->Next(kMethod).Encode()).ok());
}

TEST_F(PeersByHandTest, MalformedBeginningsAreRefused) {
  PeerServer server(With("one", "key"));
  EchoClient client(server.echo->address());
  const auto stub = v1::Cluster::NewStub(client.channel);
  for (const std::size_t size : {0U, 31U, 33U, 100'000U}) {
    v1::ChallengeRequest challenge;
    challenge.set_cluster_id("one");
    challenge.set_client_nonce(std::string(size, 'x'));
    v1::ChallengeResponse challenged;
    CallContext context(std::chrono::seconds(30));
    EXPECT_EQ(stub->Challenge(context.get(), challenge, &challenged).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
    v1::ProveRequest prove;
    prove.set_cluster_id("one");
    prove.set_client_nonce(std::string(size, 'x'));
    prove.set_server_nonce(std::string(48, 'x'));
    prove.set_proof(std::string(32, 'x'));
    v1::ProveResponse proved;
    CallContext second(std::chrono::seconds(30));
    EXPECT_EQ(stub->Prove(second.get(), prove, &proved).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
}

TEST_F(PeersTest, APeerThatWasRestartedIsGivenANewSession) {
  auto server = std::make_unique<PeerServer>(With("one", "key"));
  const std::uint16_t port = server->echo->port();
  EchoClient client(server->echo->address());
  const auto peer = PeerChannel::Create(With("one", "key"), client.channel);
  ASSERT_TRUE(Call(**peer, client).ok());
  server.reset();
  server = std::make_unique<PeerServer>(With("one", "key"), port);
  ASSERT_TRUE(WaitForConnected(*client.channel, std::chrono::seconds(30)));
  EXPECT_TRUE(Call(**peer, client).ok());
  EXPECT_EQ(server->calls, 1);
  EXPECT_TRUE(server->Denied("unknown_session", 1));
}

/// Says that it has the key.
class Impostor : public v1::Cluster::CallbackService {
 public:
  grpc::ServerUnaryReactor* Challenge(grpc::CallbackServerContext* context,
                                      const v1::ChallengeRequest* /*request*/,
                                      v1::ChallengeResponse* response) override {
    response->set_server_nonce(std::string(48, 'x'));
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerUnaryReactor* Prove(grpc::CallbackServerContext* context,
                                  const v1::ProveRequest* request,
                                  v1::ProveResponse* response) override {
    response->set_proof(request->proof());  // the best that it has
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

TEST_F(PeersTest, NoCallIsMadeToAServerThatHasNotTheKey) {
  Impostor impostor;
  EchoServer server({}, nullptr, {&impostor});
  int calls = 0;
  server.service.answer = [&](auto*, const ReverseRequest&) {
    ++calls;
    return grpc::Status::OK;
  };
  EchoClient client(server.address());
  const auto peer = PeerChannel::Create(With("one", "key"), client.channel);
  const absl::Status status = Call(**peer, client);
  EXPECT_TRUE(Denied(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("has not the cluster's key"));
  EXPECT_EQ(calls, 0);
}

TEST_F(PeersTest, KeysAndNamesThatCannotBeAreRefused) {
  const auto refused = [](const ClusterOptions& options) {
    return options.Validate().code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_FALSE(refused({}));
  EXPECT_TRUE(refused({.cluster_id = ""}));
  EXPECT_TRUE(refused({.cluster_id = std::string(65, 'x')}));
  EXPECT_TRUE(refused({.cluster_id = "a b"}));
  EXPECT_TRUE(refused({.cluster_id = "a", .key_file = folder_.path("none")}));
  EXPECT_TRUE(refused({.cluster_id = "a", .key_file = folder_.Write("a", "fifteen bytes, \n")}));
  EXPECT_FALSE(refused({.cluster_id = "a", .key_file = folder_.Write("b", "sixteen bytes, a\n")}));
  EXPECT_TRUE(refused({.cluster_id = "a", .key_file = folder_.Write("c", std::string(4097, 'x'))}));
}

}  // namespace
}  // namespace ds::rpc
