#include "compute/core/number.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <optional>
#include <vector>

#include "common/base/parse.h"
#include "compute/core/small_primes.h"

namespace ds::compute {
namespace {

/// Tried as divisors first: they show five of six composites, at a fraction of a test's cost.
constexpr std::array<std::uint64_t, 11> kDivisors = {3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};
/// Bases are tested three at a time: one after the other a processor would wait for each product.
using Bases = std::array<std::uint64_t, 3>;
constexpr Bases kSmallBases = {2, 7, 61};
constexpr std::uint64_t kSmallBasesSuffice = 4'759'123'141;
constexpr std::array<Bases, 4> kBases = {{{2, 3, 5}, {7, 11, 13}, {17, 19, 23}, {29, 31, 37}}};
/// Of a text that is no number, in an error.
constexpr std::size_t kShownBytes = 32;

__extension__ using Wide = unsigned __int128;

/// Arithmetic modulo an odd n, on numbers that stand for themselves times 2^64: a product takes
/// three multiplications and no division (Montgomery: Modular multiplication without trial
/// division, 1985). Every number has one representation, below n.
class Montgomery {
 public:
  explicit Montgomery(std::uint64_t n) : n_(n), inverse_(n), one_(-n % n) {
    // Newton's iteration: n is its own inverse modulo 8, and each step doubles the bits.
    for (int bits = 3; bits < 64; bits *= 2) inverse_ *= 2 - n * inverse_;
    square_ = n >> 32U == 0 ? one_ * one_ % n : static_cast<std::uint64_t>(Wide{one_} * one_ % n);
  }

  std::uint64_t one() const { return one_; }
  std::uint64_t minus_one() const { return n_ - one_; }
  std::uint64_t From(std::uint64_t number) const { return Multiply(number, square_); }
  std::uint64_t Multiply(std::uint64_t a, std::uint64_t b) const {
    const Wide product = Wide{a} * b;
    const auto high = static_cast<std::uint64_t>(product >> 64U);
    const std::uint64_t quotient = static_cast<std::uint64_t>(product) * inverse_;
    const auto taken = static_cast<std::uint64_t>(Wide{quotient} * n_ >> 64U);
    return high - taken + (high < taken ? n_ : 0);
  }

 private:
  std::uint64_t n_;
  std::uint64_t inverse_;  ///< of n, modulo 2^64
  std::uint64_t one_;      ///< 2^64 mod n
  std::uint64_t square_;   ///< 2^128 mod n
};

/// Whether odd `n` passes the test of each of the bases: base^d is 1, or base^(d 2^i) is -1 for an
/// i < s, where n - 1 = d 2^s with odd d. REQUIRES: no base is a multiple of n.
bool IsStrongProbablePrime(const Montgomery& modulo, std::uint64_t n, const Bases& bases) {
  const auto s = static_cast<unsigned>(std::countr_zero(n - 1));
  Bases base;
  Bases power;
  for (std::size_t k = 0; k < bases.size(); ++k) {
    base[k] = modulo.From(bases[k]);
    power[k] = modulo.one();
  }
  for (std::uint64_t exponent = (n - 1) >> s; exponent > 0; exponent >>= 1U) {
    for (std::size_t k = 0; k < bases.size(); ++k) {
      // Multiplied in any case: a processor would guess half of the bits wrong.
      const std::uint64_t multiplied = modulo.Multiply(power[k], base[k]);
      power[k] = (exponent & 1U) != 0 ? multiplied : power[k];
      base[k] = modulo.Multiply(base[k], base[k]);
    }
  }
  for (std::uint64_t x : power) {
    bool passes = x == modulo.one() || x == modulo.minus_one();
    for (unsigned i = 1; i < s && !passes; ++i) {
      x = modulo.Multiply(x, x);
      passes = x == modulo.minus_one();
    }
    if (!passes) return false;
  }
  return true;
}

std::string Shown(std::string_view text) {
  if (text.size() <= kShownBytes) return EscapeBytes(text);
  return EscapeBytes(text.substr(0, kShownBytes)) + "…";
}

}  // namespace

bool IsPrime(std::uint64_t n) {
  if (n < SmallPrimes::kLimit) return SmallPrimes::Get().Contains(n);
  if (n % 2 == 0) return false;
  for (const std::uint64_t divisor : kDivisors) {
    if (n % divisor == 0) return false;
  }
  const Montgomery modulo(n);
  if (n < kSmallBasesSuffice) return IsStrongProbablePrime(modulo, n, kSmallBases);
  return std::all_of(kBases.begin(), kBases.end(),
                     [&](const Bases& bases) { return IsStrongProbablePrime(modulo, n, bases); });
}

std::uint64_t Gcd(std::uint64_t a, std::uint64_t b) { return std::gcd(a, b); }

std::string Number::ToString() const { return fmt::format("{}{}", negative ? "-" : "", magnitude); }

absl::StatusOr<Number> ParseNumber(std::string_view text) {
  text = TrimBlanks(text);
  std::string_view digits = text;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) {
    return InvalidArgument(fmt::format("\"{}\" is not a number", Shown(text)));
  }
  const std::optional<std::uint64_t> magnitude = ParseDecimal(digits);
  if (!magnitude) {
    return Error(absl::StatusCode::kOutOfRange,
                 fmt::format("\"{}\" is too large (numbers have 64 bits)", Shown(text)));
  }
  return Number{negative && *magnitude != 0, *magnitude};
}

bool IsPrime(const Number& number) { return !number.negative && IsPrime(number.magnitude); }

}  // namespace ds::compute
