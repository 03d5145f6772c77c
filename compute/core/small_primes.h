#pragma once

#include <cstdint>
#include <vector>

namespace ds::compute {

/// Which numbers below kLimit are prime: a bit for each odd one, in 1 MiB. A constant that is too
/// large to be written down: made at the first use, in some 20 ms. Thread-safe.
class SmallPrimes {
 public:
  static constexpr std::uint64_t kLimit = std::uint64_t{1} << 24U;

  static const SmallPrimes& Get();

  /// Without a branch. REQUIRES: n < kLimit.
  bool Contains(std::uint64_t n) const {
    const std::uint64_t odd_prime = ~composite_[n / kNumbersPerWord] >> (n / 2 % 64) & n & 1U;
    return (odd_prime | static_cast<std::uint64_t>(n == 2)) != 0;
  }

 private:
  static constexpr std::uint64_t kNumbersPerWord = 128;

  SmallPrimes();
  void Strike(std::uint64_t n) {
    composite_[n / kNumbersPerWord] |= std::uint64_t{1} << (n / 2 % 64);
  }

  std::vector<std::uint64_t> composite_;
};

}  // namespace ds::compute
