#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"

namespace ds::testing {

/// Whether [::1] can be bound here. Where it cannot, tests do without that part.
bool MachineHasIpv6();

/// Addresses of 127.0.0.0/8 that no other test has while this object, or its process, lives.
/// Servers on leased addresses can all use the same well-known port, in any number of test runs at
/// once. Each lease is a /24 block guarded by a lock file in /tmp/ds-loopback-leases; the lock goes
/// with the process, however that ends. Not thread-safe.
class LoopbackLease {
 public:
  /// REQUIRES: 1 <= count <= 254. Ends the test program when all blocks are taken.
  explicit LoopbackLease(std::size_t count);

  std::size_t size() const { return addresses_.size(); }
  /// "127.x.y.z", z = index + 1.
  const std::string& address(std::size_t index) const;

 private:
  UniqueFd lock_;
  std::vector<std::string> addresses_;
};

}  // namespace ds::testing
