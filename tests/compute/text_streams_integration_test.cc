// IsPrime streams against a text-server: in numbers, abandoned, and unread.

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "common/rpc/channel.h"
#include "common/rpc/status.h"
#include "proto/compute/v1/text.grpc.pb.h"
#include "tests/compute/text_server.h"
#include "tests/compute/vectors.h"
#include "tests/harness/deadline.h"
#include "tests/harness/eventually.h"

namespace ds::compute {
namespace {

using testing::Eventually;
using testing::kDeadline;

std::shared_ptr<grpc::Channel> Connect(const std::string& server) {
  auto channel = rpc::MakeChannel(server, {});
  CHECK(channel.ok());
  return *channel;
}

/// One IsPrime stream.
class Stream {
 public:
  explicit Stream(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::Text::NewStub(channel)), stream_(stub_->IsPrime(context_.get())) {}

  bool Send(const std::string& number) {
    v1::IsPrimeRequest request;
    request.set_number(number);
    return stream_->Write(request);
  }
  std::optional<v1::IsPrimeResponse> Receive() {
    v1::IsPrimeResponse response;
    return stream_->Read(&response) ? std::optional(response) : std::nullopt;
  }
  bool Ask(const std::string& number, bool prime) {
    if (!Send(number)) return false;
    const auto answer = Receive();
    return answer && answer->number() == number && answer->prime() == prime;
  }
  void HalfClose() { stream_->WritesDone(); }
  void Cancel() { context_.Cancel(); }
  absl::Status Finish() { return rpc::FromGrpc(stream_->Finish()); }

 private:
  rpc::CallContext context_{std::chrono::minutes(5)};
  const std::unique_ptr<v1::Text::Stub> stub_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::IsPrimeRequest, v1::IsPrimeResponse>> stream_;
};

bool StreamsComeTo(const TextServer& server, double count) {
  return Eventually(kDeadline, "the streams are counted",
                    [&] { return server.Metric("compute_text_streams") == count; });
}

TEST(TextStreamTest, TheVectorsHold) {
  TextServer server;
  Stream stream(Connect(server.address()));
  const auto vectors = ReadVectors();
  for (const auto& vector : vectors["isprime"]) {
    ASSERT_TRUE(stream.Send(vector["text"]));
    const auto answer = stream.Receive();  // before the next is sent
    ASSERT_TRUE(answer) << vector;
    EXPECT_EQ(answer->has_error(), vector.contains("error")) << vector;
    if (vector.contains("error")) continue;
    EXPECT_EQ(answer->number(), vector["number"]) << vector;
    EXPECT_EQ(answer->prime(), vector["prime"]) << vector;
  }
  stream.HalfClose();
  EXPECT_FALSE(stream.Receive());
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_TRUE(StreamsComeTo(server, 0));
}

TEST(TextStreamTest, AThousandStreamsAtOnceAreAllServed) {
  TextServer server;
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < 4; ++i) channels.push_back(Connect(server.address()));
  std::vector<std::unique_ptr<Stream>> streams;
  for (std::size_t i = 0; i < 1000; ++i) {
    streams.push_back(std::make_unique<Stream>(channels[i % channels.size()]));
  }
  for (auto& stream : streams) ASSERT_TRUE(stream->Ask("15492781", true));
  EXPECT_EQ(server.Metric("compute_text_streams"), 1000);
  for (auto& stream : streams) ASSERT_TRUE(stream->Ask("15492810", false));
  for (auto& stream : streams) stream->HalfClose();
  for (auto& stream : streams) EXPECT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(StreamsComeTo(server, 0));
}

TEST(TextStreamTest, AStreamThatIsAbandonedAtAnyPointLeavesNothing) {
  TextServer server;
  const auto descriptors = [&] { return server.process().open_descriptors(); };
  const auto channel = Connect(server.address());
  ASSERT_TRUE(Stream(channel).Ask("2", true));
  ASSERT_TRUE(StreamsComeTo(server, 0));
  const std::size_t before = descriptors();
  for (int round = 0; round < 5; ++round) {
    for (int point = 0; point < 6; ++point) {
      auto mine = Connect(server.address());
      Stream stream(mine);
      if (point >= 1) {
        ASSERT_TRUE(stream.Send("7"));
      }
      if (point >= 2) {
        ASSERT_TRUE(stream.Receive());
      }
      if (point >= 3) {
        ASSERT_TRUE(stream.Send("8"));
      }
      if (point >= 4) stream.HalfClose();
      if (point >= 5) {
        ASSERT_TRUE(stream.Receive());
      }
      stream.Cancel();
      stream.Finish().IgnoreError();
    }
  }
  EXPECT_TRUE(StreamsComeTo(server, 0));
  EXPECT_TRUE(
      Eventually(kDeadline, "connections are closed", [&] { return descriptors() <= before; }));
  EXPECT_TRUE(Stream(channel).Ask("2", true));
}

TEST(TextStreamTest, AClientThatDoesNotReadIsNotReadFrom) {
  TextServer server;
  Stream stream(Connect(server.address()));
  ASSERT_TRUE(stream.Ask("2", true));
  const std::uint64_t before = server.process().resident_bytes();
  std::jthread writer([&] {
    while (stream.Send("15492781")) {
    }
  });
  // The transport takes some of it; then neither side goes on.
  double last = -1;
  int still = 0;
  EXPECT_TRUE(Eventually(kDeadline, "the server stops answering", [&] {
    const double now = server.Metric("compute_text_numbers_total");
    still = now == last && now > 100 ? still + 1 : 0;
    last = now;
    return still >= 20;
  }));
  EXPECT_LT(server.process().resident_bytes(), before + (64U << 20U) * testing::kSlowdown);
  EXPECT_TRUE(Stream(Connect(server.address())).Ask("2", true));
  stream.Cancel();
  writer.join();
  EXPECT_TRUE(StreamsComeTo(server, 0));
}

TEST(TextStreamTest, StreamsAreBounded) {
  TextServer server({"--max-streams", "5"});
  const auto channel = Connect(server.address());
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < 5; ++i) {
    streams.push_back(std::make_unique<Stream>(channel));
    ASSERT_TRUE(streams.back()->Ask("2", true));
  }
  Stream one_more(channel);
  EXPECT_FALSE(one_more.Receive());
  EXPECT_EQ(one_more.Finish().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server.Metric("compute_text_streams_refused_total"), 1);
  streams.front()->HalfClose();
  EXPECT_TRUE(streams.front()->Finish().ok());
  EXPECT_TRUE(StreamsComeTo(server, 4));
  EXPECT_TRUE(Stream(channel).Ask("2", true));
}

TEST(TextStreamTest, AStreamWithoutNumbersIsEnded) {
  TextServer server({"--stream-idle-timeout", "0.2"});
  Stream stream(Connect(server.address()));
  EXPECT_FALSE(stream.Receive());
  EXPECT_EQ(stream.Finish().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(StreamsComeTo(server, 0));
  EXPECT_GE(server.Metric("compute_text_streams_idle_total"), 1);
}

TEST(TextStreamTest, ADrainWaitsForTheStreamsThatAreOpen) {
  TextServer server({"--drain-timeout", "600"});
  Stream stream(Connect(server.address()));
  ASSERT_TRUE(stream.Ask("2", true));
  ASSERT_TRUE(server.process().Signal(SIGTERM));
  ASSERT_TRUE(Eventually(kDeadline, "new connections are refused", [&] {
    return !testing::RawPeer::Connect(server.process().host(), server.process().port()).ok();
  }));
  EXPECT_TRUE(stream.Ask("3", true));
  stream.HalfClose();
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_TRUE(server.process().Wait().Exited(0));
}

TEST(TextStreamTest, AKilledServerEndsItsStreams) {
  TextServer server;
  const auto channel = Connect(server.address());
  Stream stream(channel);
  ASSERT_TRUE(stream.Ask("2", true));
  server.process().Kill();
  EXPECT_FALSE(stream.Receive());
  EXPECT_EQ(stream.Finish().code(), absl::StatusCode::kUnavailable);
}

TEST(TextSplitTest, AnAnswerThatIsTooLargeIsRefusedBeforeItIsMade) {
  TextServer server;
  const auto stub = v1::Text::NewStub(Connect(server.address()));
  const auto split = [&](const std::string& text) {
    rpc::CallContext context(std::chrono::minutes(1));
    v1::SplitRequest request;
    request.set_text(text);
    request.set_delimiter(",");
    v1::SplitResponse response;
    absl::Status status = rpc::FromGrpc(stub->Split(context.get(), request, &response));
    EXPECT_TRUE(!status.ok() ||
                response.count() == static_cast<std::size_t>(response.parts_size()));
    return status;
  };
  EXPECT_TRUE(split("a,b").ok());
  const std::uint64_t before = server.process().resident_bytes();
  EXPECT_EQ(split(std::string((4U << 20U) - 100, ',')).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_LT(server.process().resident_bytes(), before + (40U << 20U) * testing::kSlowdown);
  EXPECT_EQ(server.Metric("compute_text_answers_refused_total"), 1);
  EXPECT_TRUE(split(std::string(1'000'000, ',')).ok());
  EXPECT_TRUE(Eventually(kDeadline, "its memory is given back",
                         [&] { return server.Metric("compute_text_answer_bytes") == 0; }));
}

std::string Http2Frame(int type, int flags, int stream, const std::string& payload) {
  std::string frame;
  for (const int shift : {16, 8, 0}) frame.push_back(static_cast<char>(payload.size() >> shift));
  frame.push_back(static_cast<char>(type));
  frame.push_back(static_cast<char>(flags));
  for (const int shift : {24, 16, 8, 0}) frame.push_back(static_cast<char>(stream >> shift));
  return frame + payload;
}

/// A field of a header whose name and value are not looked up in any table.
std::string HeaderField(const std::string& name, const std::string& value) {
  std::string field(1, '\0');
  for (const std::string& text : {name, value}) {
    field.push_back(static_cast<char>(text.size()));
    field += text;
  }
  return field;
}

/// A call of Split with an answer of 60 001 parts, 120 KB, on a connection of its own, by a peer
/// that never lets the server send a byte of an answer.
class UnreadSplit {
 public:
  static constexpr std::size_t kParts = 60'001;
  static constexpr double kBytes = 2 * kParts;

  explicit UnreadSplit(TextServer& server)
      : peer_(testing::RawPeer::Connect(server.process().host(), server.process().port())) {
    constexpr int kData = 0;
    constexpr int kHeaders = 1;
    constexpr int kSettings = 4;
    constexpr int kEndStream = 1;
    constexpr int kEndHeaders = 4;
    CHECK(peer_.ok());
    v1::SplitRequest request;
    request.set_text(std::string(kParts - 1, ','));
    request.set_delimiter(",");
    std::string message(1, '\0');  // not compressed
    for (const int shift : {24, 16, 8, 0}) {
      message.push_back(static_cast<char>(request.ByteSizeLong() >> shift));
    }
    message += request.SerializeAsString();
    std::string begin = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    begin += Http2Frame(kSettings, 0, 0, std::string("\0\4\0\0\0\0", 6));  // a window of 0 bytes
    begin += Http2Frame(kHeaders, kEndHeaders, 1,
                        HeaderField(":method", "POST") + HeaderField(":scheme", "http") +
                            HeaderField(":path", "/ds.compute.v1.Text/Split") +
                            HeaderField(":authority", "localhost") + HeaderField("te", "trailers") +
                            HeaderField("content-type", "application/grpc"));
    constexpr std::size_t kFrameMax = 16384;
    while (message.size() > kFrameMax) {
      begin += Http2Frame(kData, 0, 1, message.substr(0, kFrameMax));
      message.erase(0, kFrameMax);
    }
    CHECK(peer_->Send(begin + Http2Frame(kData, kEndStream, 1, message)));
  }

 private:
  absl::StatusOr<testing::RawPeer> peer_;
};

TEST(TextSplitTest, AnswersThatNobodyTakesHoldNoMoreThanTheirBytes) {
  // To make one of them takes 6 MB for a while, of the 256 MiB that there are.
  TextServer server;
  std::vector<std::unique_ptr<UnreadSplit>> unread;
  for (int i = 1; i <= 60; ++i) {
    unread.push_back(std::make_unique<UnreadSplit>(server));
    ASSERT_TRUE(Eventually(kDeadline, "it is made", [&] {
      const double bytes = server.Metric("compute_text_answer_bytes");
      return bytes > i * UnreadSplit::kBytes && bytes < (i + 1) * UnreadSplit::kBytes;
    })) << i;
  }
  EXPECT_EQ(server.Metric("compute_text_answers_refused_total"), 0);
  unread.clear();
  EXPECT_TRUE(Eventually(kDeadline, "their memory is given back",
                         [&] { return server.Metric("compute_text_answer_bytes") == 0; }));
}

TEST(TextSplitTest, ACallWhoseAnswerNobodyTakesIsEnded) {
  TextServer server({"--stream-idle-timeout", "0.2"});
  const UnreadSplit call(server);
  EXPECT_TRUE(Eventually(kDeadline, "it is ended",
                         [&] { return server.Metric("compute_text_calls_idle_total") >= 1; }));
  EXPECT_TRUE(Eventually(kDeadline, "its memory is given back",
                         [&] { return server.Metric("compute_text_answer_bytes") == 0; }));
}

}  // namespace
}  // namespace ds::compute
