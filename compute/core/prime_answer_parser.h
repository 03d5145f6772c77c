#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace ds::compute {

/// What a prime server has said to one number.
struct PrimeAnswer {
  enum class Kind {
    kPrime,
    kNotPrime,
    kError,      ///< the server's own: what followed `error: `
    kMalformed,  ///< nothing that a prime server says
  };
  Kind kind = Kind::kMalformed;
  std::string text;  ///< of kError and kMalformed: its bytes, cut when they are many
};

/// Finds the answers in what a server sends, however it is split, with newlines or without. A bare
/// `is prime` or `is not prime` ends by itself; an error ends with its line or, on the wire without
/// newlines, when the caller says so. Blanks, CR, LF and NUL between answers are ignored: classic
/// servers send one or the other. Single threaded; holds at most one answer.
class PrimeAnswerParser {
 public:
  static constexpr std::size_t kAnswerBytesMax = 256;  ///< longer is malformed

  /// Takes from the front of `bytes` what it needs to complete an answer; nothing: it took all.
  /// After kMalformed the stream makes no sense any more.
  std::optional<PrimeAnswer> Take(std::string_view* bytes);
  /// The server pauses or has closed: an error or half an answer that has come ends here.
  std::optional<PrimeAnswer> End();
  /// An error has begun, and only time tells its end.
  bool awaits_pause() const;

 private:
  std::string part_;
};

}  // namespace ds::compute
