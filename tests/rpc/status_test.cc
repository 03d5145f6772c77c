#include "common/rpc/status.h"

#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <string>

#include "common/rpc/call_counts.h"

namespace ds::rpc {
namespace {

TEST(RpcStatusTest, AllSeventeenCodesGoThereAndBackWithTheirMessage) {
  for (int code = 1; code < 17; ++code) {
    const std::string message = "cod\xc3\xa9 " + std::to_string(code);
    const auto status = Error(static_cast<absl::StatusCode>(code), message);
    const grpc::Status wire = ToGrpc(status);
    EXPECT_EQ(static_cast<int>(wire.error_code()), code);
    EXPECT_EQ(wire.error_message(), message);
    EXPECT_EQ(FromGrpc(wire), status);
    // The names are the same, too: no code was taken for another of the same number.
    EXPECT_EQ(CodeName(code), absl::StatusCodeToString(status.code()));
  }
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
  EXPECT_EQ(CodeName(0), "OK");
}

TEST(RpcStatusTest, ACodeThatDoesNotExistIsUnknownAndNamed) {
  for (const int code : {17, 31, -1}) {
    const auto status = FromGrpc({static_cast<grpc::StatusCode>(code), "odd"});
    EXPECT_EQ(status.code(), absl::StatusCode::kUnknown) << code;
    EXPECT_EQ(Message(status), "odd (status code " + std::to_string(code) + ")");
  }
}

TEST(CallCountsTest, NamesThatPeersMakeUpAreOne) {
  CallCounts counts;
  for (int i = 0; i < 10'000; ++i) {
    auto& method = counts.Of("/made.Up/" + std::to_string(i));
    method.Begin();
    method.End(i % 2 == 0 ? 12 : 99);
  }
  for (const char* name : {"", "/", "other", "/grpc.health.v1.Health/", "/grpc.health.v1.Health/X",
                           "grpc.health.v1.Health/Watch", "/grpc.health.v1.Health.Watch"}) {
    EXPECT_EQ(&counts.Of(name), &counts.Of("other")) << name;
  }
  daemon::MetricsPage page;
  counts.Collect("x", page);
  ASSERT_EQ(page.families().size(), 2U);
  EXPECT_EQ(page.families()[0].metric.size(), 2U);
  EXPECT_EQ(page.families()[1].metric.size(), 1U);
}

TEST(CallCountsTest, WatchersAreToldFromCallsThatSomebodyWaitsFor) {
  CallCounts counts;
  counts.Of("/grpc.health.v1.Health/Watch").Begin();
  counts.Of("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo").Begin();
  counts.Of("/ds.x.v1.Y/Z").Begin();
  EXPECT_EQ(counts.open().calls, 1);
  EXPECT_EQ(counts.open().watchers, 2);
  counts.Of("/ds.x.v1.Y/Z").End(0);
  EXPECT_EQ(counts.open().calls, 0);
}

}  // namespace
}  // namespace ds::rpc
