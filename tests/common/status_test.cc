#include "common/base/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

namespace ds {
namespace {

TEST(StatusTest, CodeAndMessageAreKept) {
  const absl::Status status = InvalidArgument("parse \"x\": no");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(status), "parse \"x\": no");
  EXPECT_EQ(Unavailable("x").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Message(absl::OkStatus()), "");
}

TEST(StatusDeathTest, ErrorThatIsNoneIsABug) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(Error(absl::StatusCode::kOk, "fine").IgnoreError(), "CHECK failed");
}

TEST(ErrnoErrorTest, MessageSaysWhatAndWhy) {
  EXPECT_EQ(Message(ErrnoError("open \"x\"", ENOENT)), "open \"x\": No such file or directory");
}

TEST(ErrnoErrorTest, CodeFitsTheErrno) {
  const std::pair<int, absl::StatusCode> cases[] = {
      {ENOENT, absl::StatusCode::kNotFound},
      {EACCES, absl::StatusCode::kPermissionDenied},
      {EEXIST, absl::StatusCode::kAlreadyExists},
      {ENOSPC, absl::StatusCode::kResourceExhausted},
      {EMFILE, absl::StatusCode::kResourceExhausted},
      {EINVAL, absl::StatusCode::kUnknown},
      {ETIMEDOUT, absl::StatusCode::kDeadlineExceeded},
      {EADDRINUSE, absl::StatusCode::kUnavailable},
      {ECONNREFUSED, absl::StatusCode::kUnavailable},
      {EIO, absl::StatusCode::kUnknown},
      {0, absl::StatusCode::kUnknown},
  };
  for (const auto& [error, code] : cases) EXPECT_EQ(ErrnoError("x", error).code(), code) << error;
}

absl::Status FailIfOdd(int n) {
  return n % 2 == 0 ? absl::OkStatus() : InvalidArgument("odd " + std::to_string(n));
}

absl::StatusOr<int> Half(int n) {
  RETURN_IF_ERROR(FailIfOdd(n));
  return n / 2;
}

absl::StatusOr<int> Quarter(int n) {
  ASSIGN_OR_RETURN(const int half, Half(n));
  ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

TEST(StatusMacrosTest, ValueGoesOn) {
  ASSERT_TRUE(Quarter(12).ok());
  EXPECT_EQ(*Quarter(12), 3);
}

TEST(StatusMacrosTest, FirstErrorIsReturned) {
  EXPECT_EQ(Message(Quarter(7).status()), "odd 7");
  EXPECT_EQ(Message(Quarter(6).status()), "odd 3");
}

TEST(StatusMacrosTest, ExpressionIsEvaluatedOnce) {
  int evaluated = 0;
  const auto count = [&] {
    ++evaluated;
    return absl::OkStatus();
  };
  const auto give = [&]() -> absl::StatusOr<int> {
    ++evaluated;
    return 1;
  };
  const auto use = [&]() -> absl::Status {
    RETURN_IF_ERROR(count());
    ASSIGN_OR_RETURN([[maybe_unused]] const int value, give());
    return absl::OkStatus();
  };
  EXPECT_TRUE(use().ok());
  EXPECT_EQ(evaluated, 2);
}

TEST(StatusMacrosTest, MacroIsOneStatement) {
  const auto use = [](bool ask) -> absl::Status {
    if (ask)
      RETURN_IF_ERROR(InvalidArgument("asked"));
    else
      return InvalidArgument("not asked");
    return absl::OkStatus();
  };
  EXPECT_EQ(Message(use(true)), "asked");
  EXPECT_EQ(Message(use(false)), "not asked");
}

TEST(StatusMacrosTest, ValueMayBeAssignedToAndMayBeMoveOnly) {
  const auto make = []() -> absl::StatusOr<std::unique_ptr<int>> {
    return std::make_unique<int>(5);
  };
  std::unique_ptr<int> kept;
  const auto use = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(kept, make());
    return absl::OkStatus();
  };
  ASSERT_TRUE(use().ok());
  EXPECT_EQ(*kept, 5);
}

}  // namespace
}  // namespace ds
