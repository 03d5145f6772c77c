#include "compute/core/prime_answer_parser.h"

#include <utility>

namespace ds::compute {
namespace {

constexpr std::string_view kPrime = "is prime";
constexpr std::string_view kNotPrime = "is not prime";
constexpr std::string_view kError = "error:";

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\0'; }

/// Whether `text` is, or may become, one that begins with `start`.
bool MayBe(std::string_view text, std::string_view start) {
  return start.starts_with(text) || text.starts_with(start);
}

PrimeAnswer Malformed(std::string text) { return {PrimeAnswer::Kind::kMalformed, std::move(text)}; }

}  // namespace

std::optional<PrimeAnswer> PrimeAnswerParser::Take(std::string_view* bytes) {
  while (!bytes->empty()) {
    const char c = bytes->front();
    bytes->remove_prefix(1);
    if (part_.empty() && IsBlank(c)) continue;
    if (part_.starts_with(kError) && c == '\n') return End();
    part_ += c;
    if (part_ == kPrime || part_ == kNotPrime) {
      const bool prime = std::exchange(part_, {}) == kPrime;
      return PrimeAnswer{prime ? PrimeAnswer::Kind::kPrime : PrimeAnswer::Kind::kNotPrime, {}};
    }
    if (part_.size() > kAnswerBytesMax ||
        !(MayBe(part_, kPrime) || MayBe(part_, kNotPrime) || MayBe(part_, kError))) {
      return Malformed(std::exchange(part_, {}));
    }
  }
  return std::nullopt;
}

std::optional<PrimeAnswer> PrimeAnswerParser::End() {
  if (part_.empty()) return std::nullopt;
  std::string part = std::exchange(part_, {});
  if (!part.starts_with(kError)) return Malformed(std::move(part));
  std::string_view text = std::string_view(part).substr(kError.size());
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return PrimeAnswer{PrimeAnswer::Kind::kError, std::string(text)};
}

bool PrimeAnswerParser::awaits_pause() const { return part_.starts_with(kError); }

}  // namespace ds::compute
