#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace ds::compute {

/// Whether `n` is prime; exact for every `n`. Below 2^24 by a sieve, which the first such call
/// makes (1 MiB, about 20 ms). From there on by small divisors and Miller-Rabin: with the bases 2,
/// 7 and 61 below 4 759 123 141, where no composite passes them (Jaeschke: On strong pseudoprimes
/// to several bases, 1993), else with the first twelve primes, which no composite below 3.3e24
/// passes (Sorenson, Webster: Strong pseudoprimes to twelve prime bases, 2015).
bool IsPrime(std::uint64_t n);

/// The greatest common divisor; Gcd(0, n) is n, Gcd(0, 0) is 0.
std::uint64_t Gcd(std::uint64_t a, std::uint64_t b);

/// A whole number as clients write it.
struct Number {
  bool negative = false;        ///< never of 0
  std::uint64_t magnitude = 0;  ///< |n|

  /// In decimal, without leading zeros.
  std::string ToString() const;
  friend bool operator==(const Number&, const Number&) = default;
};

/// A sign or none, and decimal digits, with or without leading zeros: `+7` and `007` are 7. Blanks
/// around it are ignored. kInvalidArgument: it is no number; kOutOfRange: |n| is over 2^64 - 1. The
/// message names the text, cut when it is long.
absl::StatusOr<Number> ParseNumber(std::string_view text);

/// Whether a number that clients wrote is prime: no negative one is.
bool IsPrime(const Number& number);

}  // namespace ds::compute
