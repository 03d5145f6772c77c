#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "common/base/check.h"
#include "common/base/time.h"

namespace ds {

/// Random numbers from a seed: xoshiro256** 1.0 (Blackman and Vigna, "Scrambled linear
/// pseudorandom number generators", 2021), its state filled by SplitMix64 as its authors advise.
/// All draws are made here, of integers, comparisons and exact products, since those of <random>
/// and <cmath> differ between libraries: one seed gives the same draws everywhere. Whoever owns the
/// seed owns the Rng; cores are given a reference. Not for secrets. Single threaded.
class Rng {
 public:
  explicit Rng(std::uint64_t seed) {
    for (std::uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15;
      std::uint64_t mixed = seed;
      mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
      word = mixed ^ (mixed >> 31);
    }
  }

  /// 64 random bits.
  std::uint64_t Next() {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Uniform in [0, n). REQUIRES: n > 0.
  std::uint64_t Below(std::uint64_t n) {
    CHECK(n > 0);
    // The lowest 2^64 mod n values would make some results likelier than others.
    const std::uint64_t skipped = (0 - n) % n;
    std::uint64_t drawn = Next();
    while (drawn < skipped) drawn = Next();
    return drawn % n;
  }

  /// Uniform in [low, high], both ends included. REQUIRES: low <= high, not the whole range.
  std::int64_t Between(std::int64_t low, std::int64_t high) {
    CHECK(low <= high);
    const auto first = static_cast<std::uint64_t>(low);
    return static_cast<std::int64_t>(first + Below(static_cast<std::uint64_t>(high) - first + 1));
  }
  Duration Between(Duration low, Duration high) {
    return Duration(Between(low.count(), high.count()));
  }

  /// Uniform in [0, 1), a multiple of 2^-53.
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

  /// True with this probability: never at 0, always at 1.
  bool Bernoulli(double probability) { return Unit() < probability; }

  /// Exponentially distributed with mean 1, by comparisons alone (von Neumann, "Various techniques
  /// used in connection with random digits", 1951): in a run of falling uniform draws that begins
  /// with u, an odd length has the probability e^-u; an even one adds 1 and begins again.
  double Exponential() {
    for (double whole = 0;; whole += 1) {
      const double first = Unit();
      bool odd = true;
      for (double last = first;; odd = !odd) {
        const double next = Unit();
        if (next >= last) break;
        last = next;
      }
      if (odd) return whole + first;
    }
  }
  Duration Exponential(Duration mean) {
    return Duration(static_cast<Duration::rep>(static_cast<double>(mean.count()) * Exponential()));
  }

 private:
  std::array<std::uint64_t, 4> state_;
};

}  // namespace ds
