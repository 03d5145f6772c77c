#include "common/rpc/server.h"

#include <gmock/gmock.h>
#include <grpcpp/impl/client_unary_call.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/sync_stream.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "common/base/check.h"
#include "tests/harness/eventually.h"
#include "tests/harness/fake_server.h"
#include "tests/harness/loopback_lease.h"
#include "tests/harness/raw_peer.h"
#include "tests/rpc/echo_server.h"

namespace ds::rpc {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using testing::kDeadline;
using testing::RawPeer;
using namespace std::chrono_literals;

/// The client's part of HTTP/2's beginning: the preface and empty settings.
const std::string kHttp2Begin =
    std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string("\0\0\0\4\0\0\0\0\0", 9);

grpc::ByteBuffer Bytes(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

std::string ToString(const grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  return buffer.DumpToSingleSlice(&slice).ok()
             ? std::string(reinterpret_cast<const char*>(slice.begin()), slice.size())
             : "none";
}

const std::string kServing("\x08\x01", 2);     // HealthCheckResponse{status: SERVING}
const std::string kNotServing("\x08\x02", 2);  // NOT_SERVING
const std::string kUnknown("\x08\x03", 2);     // SERVICE_UNKNOWN
constexpr const char* kServiceName = "ds.compute.v1.Text";

/// A watcher of the standard health service, made without its generated code.
class HealthWatcher {
 public:
  /// `service`: its full name, or "", the server as a whole.
  explicit HealthWatcher(EchoClient& client, const std::string& service = "")
      : reader_(grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(
            client.channel.get(),
            grpc::internal::RpcMethod("/grpc.health.v1.Health/Watch",
                                      grpc::internal::RpcMethod::SERVER_STREAMING),
            context_.get(),
            Bytes("\x0a" + std::string(1, static_cast<char>(service.size())) + service))) {}

  /// The next state, or "end".
  std::string Next() {
    grpc::ByteBuffer buffer;
    return reader_->Read(&buffer) ? ToString(buffer) : "end";
  }
  absl::Status Finish() { return FromGrpc(reader_->Finish()); }

 private:
  CallContext context_{60s};
  std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader_;
};

TEST(RpcServerTest, EveryListenerIsServed) {
  EchoServer server;
  EXPECT_NE(server.port(), 0);
  for (const auto& endpoint : server.server->listen()) {
    EXPECT_EQ(endpoint.port(), server.port());
    EchoClient client(endpoint.ToString());
    EXPECT_EQ(*client.Echo("hällo"), "hällo") << endpoint.ToString();
  }
  EXPECT_EQ(server.server->listen().size(), testing::MachineHasIpv6() ? 2U : 1U);
}

TEST(RpcServerTest, ASecondServerOnThePortIsAnError) {
  EchoServer server;
  const auto second = net::ListenLoopback(server.port());
  EXPECT_THAT(Message(second.status()), HasSubstr("ddress already in use"));
  // Nor does anything of gRPC share it: the listeners would have to allow it, too.
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(EchoClient(server.address()).Echo("x").ok());
}

TEST(RpcServerTest, EveryCodeComesBackWithItsMessage) {
  EchoServer server;
  server.service.answer = [](auto*, const ReverseRequest& request) {
    const int code = std::stoi(request.text());
    return grpc::Status(static_cast<grpc::StatusCode>(code), "wörds\n of " + request.text());
  };
  EchoClient client(server.address());
  for (int code = 1; code < 17; ++code) {
    const auto answer = client.Echo(std::to_string(code));
    EXPECT_EQ(static_cast<int>(answer.status().code()), code);
    EXPECT_EQ(Message(answer.status()), "wörds\n of " + std::to_string(code));
  }
  EXPECT_TRUE(client.Echo("0").ok());
}

TEST(RpcServerTest, AMessageOverTheLimitIsRefusedAndTheConnectionLives) {
  CallCounts counts;
  EchoServer server;
  EchoClient client(server.address(), {.counts = &counts});
  const std::size_t limit = ServerOptions().message_bytes_max;
  EXPECT_TRUE(client.Echo(std::string(limit - 100, 'x')).ok());
  const auto refused = client.Echo(std::string(limit + 1, 'x'));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted) << refused.status();
  EXPECT_TRUE(client.Echo("x").ok());
}

TEST(RpcServerTest, HeadersOverTheLimitAreRefusedAndTheServerLives) {
  // Limits on either side of gRPC's own.
  for (const std::size_t limit : {4U << 10U, 64U << 10U}) {
    EchoServer server({.metadata_bytes_max = limit});
    const auto call = [&](std::size_t bytes) {
      EchoClient client(server.address());
      CallContext context(60s);
      context.get()->AddMetadata("x", std::string(bytes, 'x'));
      ReverseResponse response;
      return FromGrpc(client.stub->Reverse(context.get(), {}, &response));
    };
    EXPECT_TRUE(call(limit - 1000).ok()) << limit;
    const absl::Status refused = call(limit + 1);
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
    EXPECT_TRUE(call(limit - 1000).ok()) << limit;
  }
}

TEST(RpcServerTest, AnAnswerOverTheClientsLimitIsRefusedThere) {
  EchoServer server;
  EchoClient client(server.address(), {.message_bytes_max = 1000});
  EXPECT_EQ(client.Echo(std::string(2000, 'x')).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(RpcServerTest, AConnectionHasSoManyCallsAtATime) {
  EchoServer server({.streams_max = 3});
  server.service.hold = true;
  EchoClient client(server.address());
  std::vector<std::jthread> calls;
  std::atomic<int> done{0};
  for (int i = 0; i < 9; ++i) {
    calls.emplace_back([&] { done += client.Echo("x").ok() ? 1 : 0; });
  }
  ASSERT_TRUE(Eventually(kDeadline, "all calls are made, three at a time", [&] {
    if (server.service.held() == 3) server.service.ReleaseAll();
    return done == 9;
  }));
  EXPECT_EQ(server.service.most_held(), 3U);
}

TEST(RpcServerTest, CallsThatHoldAThreadAreBoundedAndTheOthersGoOn) {
  // Server reflection is the one service here that is not of the callback API.
  using Reflection = grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;
  EchoServer server({.threads_max = 4});
  EchoClient client(server.address());
  std::vector<std::unique_ptr<CallContext>> contexts;
  std::vector<std::unique_ptr<Reflection>> held;
  int refused = 0;
  for (int i = 0; i < 20; ++i) {
    contexts.push_back(std::make_unique<CallContext>(60s));
    std::unique_ptr<Reflection> stream(
        grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
            client.channel.get(),
            grpc::internal::RpcMethod(
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                grpc::internal::RpcMethod::BIDI_STREAMING),
            contexts.back()->get()));
    grpc::ByteBuffer answer;
    if (stream->Write(Bytes(std::string("\x3a\0", 2))) && stream->Read(&answer)) {
      held.push_back(std::move(stream));
      continue;
    }
    EXPECT_EQ(FromGrpc(stream->Finish()).code(), absl::StatusCode::kResourceExhausted);
    ++refused;
  }
  EXPECT_LE(held.size(), 4U);
  EXPECT_GE(held.size(), 1U);
  EXPECT_GE(refused, 16);
  EXPECT_TRUE(client.Echo("x").ok());
  for (auto& stream : held) {
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
}

TEST(RpcServerTest, AServerThatIsShortOfMemoryRefusesAndLives) {
  EchoServer server({.memory_bytes = 4U << 20U});
  const std::string large(3U << 20U, 'x');
  std::atomic<int> refused{0};
  std::atomic<int> odd{0};
  // That calls meet in the server is likely, not certain: so again until they have.
  EXPECT_TRUE(Eventually(kDeadline, "some are refused", [&] {
    std::vector<std::jthread> clients;
    for (int i = 0; i < 16; ++i) {
      clients.emplace_back([&] {
        const auto code = EchoClient(server.address()).Echo(large).status().code();
        if (code == absl::StatusCode::kOk) return;
        const bool expected =
            code == absl::StatusCode::kResourceExhausted || code == absl::StatusCode::kUnavailable;
        ++(expected ? refused : odd);
      });
    }
    clients.clear();
    return refused > 0;
  }));
  EXPECT_EQ(odd, 0);
  EXPECT_TRUE(Eventually(kDeadline, "its memory is free again",
                         [&] { return EchoClient(server.address()).Echo("x").ok(); }));
}

TEST(RpcServerTest, ACallEndsAtItsDeadline) {
  EchoServer server;
  server.service.hold = true;
  EchoClient client(server.address());
  EXPECT_EQ(client.Echo("x", 50ms).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Eventually(kDeadline, "the server drops it, too",
                         [&] { return server.service.cancelled() == 1; }));
}

TEST(RpcServerDeathTest, ThereIsNoCallWithoutADeadline) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(CallContext{Duration::zero()}, "without a deadline");
}

TEST(RpcServerTest, AReadableDescriptorCancelsACall) {
  EchoServer server;
  server.service.hold = true;
  EchoClient client(server.address());
  const UniqueFd interrupt(::eventfd(0, EFD_CLOEXEC));
  CallContext context(60s);
  const CancelWhenReadable cancel(interrupt.get(), &context);
  absl::Status status;
  std::jthread call([&] {
    ReverseResponse response;
    status = FromGrpc(client.stub->Reverse(context.get(), {}, &response));
  });
  ASSERT_TRUE(Eventually(kDeadline, "it is called", [&] { return server.service.held() == 1; }));
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(interrupt.get(), &one, sizeof one), 8);
  call.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST(RpcServerTest, CallsAreCountedByMethodAndCode) {
  CallCounts counts;
  daemon::Metrics metrics;
  EchoServer server({}, &metrics);
  server.service.answer = [](auto*, const ReverseRequest& request) {
    return request.text() == "bad" ? grpc::Status(grpc::StatusCode::ABORTED, "") : grpc::Status::OK;
  };
  EchoClient client(server.address(), {.counts = &counts});
  EXPECT_TRUE(client.Echo("good").ok());
  EXPECT_TRUE(client.Echo("good").ok());
  EXPECT_FALSE(client.Echo("bad").ok());
  const std::string method = "{method=\"/ds.compute.v1.Text/Reverse\"";
  const auto text = [&] { return metrics.Text(); };
  EXPECT_TRUE(Eventually(kDeadline, "the server counts", [&] {
    return text().find("rpc_server_calls_total" + method + ",code=\"OK\"} 2\n") !=
               std::string::npos &&
           text().find("rpc_server_calls_total" + method + ",code=\"ABORTED\"} 1\n") !=
               std::string::npos &&
           text().find("rpc_server_calls_open" + method + "} 0\n") != std::string::npos;
  })) << text();
  EXPECT_THAT(text(), HasSubstr("rpc_server_connections_total 1\n"));
  const auto registration =
      metrics.Register([&](daemon::MetricsPage& page) { counts.Collect("rpc_client", page); });
  EXPECT_THAT(text(), HasSubstr("rpc_client_calls_total" + method + ",code=\"ABORTED\"} 1\n"));
}

TEST(RpcServerTest, TheHealthServiceAnswers) {
  EchoServer server;
  EchoClient client(server.address());
  HealthWatcher watcher(client);
  EXPECT_EQ(watcher.Next(), kServing);
  EXPECT_EQ(HealthWatcher(client, kServiceName).Next(), kServing);
  EXPECT_EQ(HealthWatcher(client, "ds.compute.v1.Nobody").Next(), kUnknown);
}

TEST(RpcServerTest, ADrainTellsWatchersFirstAndWaitsForCallsButNotForThem) {
  EchoServer server;
  server.service.hold = true;
  EchoClient client(server.address());
  HealthWatcher watcher(client);
  HealthWatcher watcher_of_one(client, kServiceName);
  ASSERT_EQ(watcher.Next(), kServing);
  ASSERT_EQ(watcher_of_one.Next(), kServing);
  absl::StatusOr<std::string> answer = Unavailable("none");
  std::jthread call([&] { answer = client.Echo("x"); });
  ASSERT_TRUE(Eventually(kDeadline, "it is called", [&] { return server.service.held() == 1; }));

  std::atomic<bool> drained{false};
  std::jthread drain([&] {
    server.server->Drain(std::chrono::steady_clock::now() + 1h);
    drained = true;
  });
  EXPECT_EQ(watcher.Next(), kNotServing);
  EXPECT_EQ(watcher_of_one.Next(), kNotServing);
  EXPECT_FALSE(drained);
  EchoClient late(server.address());
  EXPECT_EQ(late.Echo("x").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(drained);
  server.service.ReleaseAll();
  call.join();
  EXPECT_TRUE(answer.ok()) << answer.status();
  drain.join();  // an hour is not over
  EXPECT_EQ(watcher.Next(), "end");
  EXPECT_FALSE(watcher.Finish().ok());
}

TEST(RpcServerTest, NamesThatPeersMakeUpDisplaceNoMethodAndHoldUpNoDrain) {
  daemon::Metrics metrics;
  EchoServer server({}, &metrics);
  EchoClient client(server.address());
  for (int i = 0; i < 1000; ++i) {
    CallContext context(60s);
    const std::string name = "/made.Up/" + std::to_string(i);
    const grpc::internal::RpcMethod method(name.c_str(), grpc::internal::RpcMethod::NORMAL_RPC);
    grpc::ByteBuffer answer;
    ASSERT_EQ(FromGrpc(grpc::internal::BlockingUnaryCall(client.channel.get(), method,
                                                         context.get(), Bytes(""), &answer))
                  .code(),
              absl::StatusCode::kUnimplemented);
  }
  EXPECT_TRUE(client.Echo("x").ok());
  HealthWatcher watcher(client);
  ASSERT_EQ(watcher.Next(), kServing);
  EXPECT_THAT(metrics.Text(),
              HasSubstr("rpc_server_calls_open{method=\"/grpc.health.v1.Health/Watch\"} 1\n"));
  EXPECT_TRUE(Eventually(kDeadline, "both are counted", [&] {
    const std::string text = metrics.Text();
    const std::string total = "rpc_server_calls_total{method=";
    return text.find(total + "\"/ds.compute.v1.Text/Reverse\",code=\"OK\"} 1\n") !=
               std::string::npos &&
           text.find(total + "\"other\",code=\"UNIMPLEMENTED\"} 1000\n") != std::string::npos;
  })) << metrics.Text();
  server.server->Drain(std::chrono::steady_clock::now() + 1h);  // which is not over
}

TEST(RpcServerTest, WhatIsUnderWayAtTheEndOfADrainIsCancelled) {
  EchoServer server;
  server.service.hold = true;
  EchoClient client(server.address());
  absl::StatusOr<std::string> answer = "none";
  std::jthread call([&] { answer = client.Echo("x"); });
  ASSERT_TRUE(Eventually(kDeadline, "it is called", [&] { return server.service.held() == 1; }));
  server.server->Drain(std::chrono::steady_clock::now());
  call.join();
  EXPECT_FALSE(answer.ok());
  EXPECT_EQ(server.service.cancelled(), 1U);
}

TEST(RpcServerTest, AServerThatIsBackIsFoundAtOnce) {
  auto server = std::make_unique<EchoServer>();
  const std::uint16_t port = server->port();
  EchoClient client(server->address());
  ASSERT_TRUE(client.Echo("x").ok());
  server.reset();
  EXPECT_EQ(client.Echo("x").status().code(), absl::StatusCode::kUnavailable);
  server =
      std::make_unique<EchoServer>(ServerOptions{}, nullptr, std::vector<grpc::Service*>{}, port);
  EXPECT_TRUE(WaitForConnected(*client.channel, kDeadline));
  EXPECT_TRUE(client.Echo("x").ok());
}

TEST(RpcServerTest, AChannelTriesAgainAtLeastTwiceASecond) {
  // With gRPC's own backoff (1 s, 1.6 s, 2.6 s, …) ten attempts take more than a minute.
  testing::FakeServer closing({[](auto&) {}});
  EchoClient client("127.0.0.1:" + std::to_string(closing.port()));
  EXPECT_TRUE(Eventually(20s, "ten attempts", [&] {
    WaitForConnected(*client.channel, 50ms);  // a channel that nobody waits for does nothing
    return closing.connections() >= 10;
  }));
}

TEST(RpcServerTest, AProxyOfTheEnvironmentIsNotUsed) {
  EchoServer server;
  // NOLINTBEGIN(concurrency-mt-unsafe): only this thread looks at it
  for (const char* name : {"http_proxy", "https_proxy", "grpc_proxy"}) {
    ASSERT_EQ(::setenv(name, "http://127.0.0.1:1", 1), 0);
  }
  EchoClient client(server.address());
  const auto answer = client.Echo("x");
  for (const char* name : {"http_proxy", "https_proxy", "grpc_proxy"}) ::unsetenv(name);
  // NOLINTEND(concurrency-mt-unsafe)
  EXPECT_TRUE(answer.ok()) << answer.status();
}

TEST(RpcServerTest, AServerThatFallsSilentIsNoticed) {
  // Says hello as HTTP/2 servers do, and then nothing ever.
  testing::FakeServer silent({[](auto& conversation) {
    conversation.Send(std::string("\0\0\0\4\0\0\0\0\0", 9));
    conversation.WaitForEnd();
  }});
  EchoClient client("127.0.0.1:" + std::to_string(silent.port()),
                    {.keepalive_time = 100ms, .keepalive_timeout = 100ms});
  EXPECT_EQ(client.Echo("x", 1h).status().code(), absl::StatusCode::kUnavailable);
}

TEST(RpcServerTest, AClientThatFallsSilentIsDropped) {
  EchoServer server({.keepalive_time = 100ms, .keepalive_timeout = 100ms});
  auto peer = RawPeer::Connect("127.0.0.1", server.port());
  ASSERT_TRUE(peer.ok() && peer->Send(kHttp2Begin));
  EXPECT_NE(peer->ReadToEnd().end, RawPeer::End::kTimeout);
}

TEST(RpcServerTest, AClientThatNeverSpeaksIsDropped) {
  EchoServer server({.handshake_timeout = 100ms});
  auto peer = RawPeer::Connect("127.0.0.1", server.port());
  ASSERT_TRUE(peer.ok());
  EXPECT_NE(peer->ReadToEnd().end, RawPeer::End::kTimeout);
}

TEST(RpcServerTest, AConnectionWithoutCallsIsClosedInTheEnd) {
  EchoServer server({.idle_max = 100ms});
  auto peer = RawPeer::Connect("127.0.0.1", server.port());
  ASSERT_TRUE(peer.ok() && peer->Send(kHttp2Begin));
  EXPECT_NE(peer->ReadToEnd().end, RawPeer::End::kTimeout);
}

TEST(RpcServerTest, BytesThatAreNoHttp2AreTheEndOfTheirConnectionOnly) {
  EchoServer server;
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100'000, '\0'),
        kHttp2Begin + std::string(100'000, '\xff'),
        kHttp2Begin.substr(0, 24) + "garbage, garbage"}) {
    auto peer = RawPeer::Connect("127.0.0.1", server.port());
    ASSERT_TRUE(peer.ok());
    peer->Send(bytes);
    peer->ShutdownWrite();
    EXPECT_NE(peer->ReadToEnd().end, RawPeer::End::kTimeout);
  }
  EXPECT_TRUE(EchoClient(server.address()).Echo("x").ok());
}

TEST(RpcServerTest, OptionsThatCannotBeAreRefused) {
  const auto refused = [](const ServerOptions& options) {
    return options.Validate().code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_FALSE(refused({}));
  EXPECT_TRUE(refused({.message_bytes_max = 0}));
  EXPECT_TRUE(refused({.message_bytes_max = std::size_t{1} << 40U}));
  EXPECT_TRUE(refused({.memory_bytes = 1000}));
  EXPECT_TRUE(refused({.streams_max = 0}));
  EXPECT_TRUE(refused({.threads_max = 1}));
  for (const char* target : {"", "127.0.0.1", "unix", "127.0.0.1:99999", "dns:///a:1"}) {
    EXPECT_EQ(MakeChannel(target, {}).status().code(), absl::StatusCode::kInvalidArgument)
        << target;
  }
}

}  // namespace
}  // namespace ds::rpc
