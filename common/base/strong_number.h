#pragma once

#include <fmt/format.h>

#include <compare>
#include <cstdint>
#include <functional>

#include "common/base/check.h"

namespace ds {

/// A 64-bit number that is of one kind alone, named by the type Tag: terms and log indexes cannot
/// be taken for each other. Begins at 0.
template <typename Tag>
class StrongNumber {
 public:
  constexpr StrongNumber() = default;
  explicit constexpr StrongNumber(std::uint64_t value) : value_(value) {}

  constexpr std::uint64_t value() const { return value_; }

  friend constexpr bool operator==(StrongNumber, StrongNumber) = default;
  friend constexpr std::strong_ordering operator<=>(StrongNumber a, StrongNumber b) {
    return a.value_ <=> b.value_;
  }

  StrongNumber& operator++() {
    ++value_;
    return *this;
  }
  friend StrongNumber operator+(StrongNumber number, std::uint64_t n) {
    return StrongNumber(number.value_ + n);
  }
  /// REQUIRES: n <= number.
  friend StrongNumber operator-(StrongNumber number, std::uint64_t n) {
    CHECK(n <= number.value_);
    return StrongNumber(number.value_ - n);
  }
  /// How many steps from b to a. REQUIRES: b <= a.
  friend std::uint64_t operator-(StrongNumber a, StrongNumber b) {
    CHECK(b <= a);
    return a.value_ - b.value_;
  }

 private:
  std::uint64_t value_ = 0;
};

}  // namespace ds

template <typename Tag>
struct std::hash<ds::StrongNumber<Tag>> {
  std::size_t operator()(ds::StrongNumber<Tag> number) const noexcept {
    return std::hash<std::uint64_t>()(number.value());
  }
};

template <typename Tag>
struct fmt::formatter<ds::StrongNumber<Tag>> : fmt::formatter<std::uint64_t> {
  template <typename Context>
  auto format(ds::StrongNumber<Tag> number, Context& context) const {
    return fmt::formatter<std::uint64_t>::format(number.value(), context);
  }
};
