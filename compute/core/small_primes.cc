#include "compute/core/small_primes.h"

namespace ds::compute {

const SmallPrimes& SmallPrimes::Get() {
  static const SmallPrimes primes;
  return primes;
}

/// The sieve of Eratosthenes.
SmallPrimes::SmallPrimes() : composite_(kLimit / kNumbersPerWord) {
  Strike(1);
  for (std::uint64_t n = 3; n * n < kLimit; n += 2) {
    if (!Contains(n)) continue;
    for (std::uint64_t multiple = n * n; multiple < kLimit; multiple += 2 * n) Strike(multiple);
  }
}

}  // namespace ds::compute
