#pragma once

#include <gtest/gtest.h>

namespace ds::testing {

/// Puts a test program, and so all programs that it starts, into a network of its own, in which
/// 10.0.0.0/8 is on this machine and is no loopback address. Without root, in a user namespace of
/// its own. To be added by AddGlobalTestEnvironment(), before there is any thread.
class NetworkOfItsOwn : public ::testing::Environment {
 public:
  static constexpr const char* kHost = "10.77.0.1";

  void SetUp() override;
};

}  // namespace ds::testing
