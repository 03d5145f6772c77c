#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "compute/core/prime_connection.h"

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using ds::compute::PrimeAnswers;
using ds::compute::PrimeConnection;

namespace {

const PrimeConnection::Options kOptions;
constexpr ds::TimePoint kStart{1h};

/// What is answered to `bytes` that come in pieces of `piece` bytes, and then end.
std::string AnswersTo(std::string_view bytes, std::size_t piece) {
  PrimeConnection connection(&kOptions, kStart);
  PrimeAnswers answers;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    connection.HandleBytes(bytes.substr(at, piece), kStart, &answers);
  }
  connection.HandleEndOfStream(&answers);
  return answers.bytes;
}

}  // namespace

/// Cutting the input anywhere gives the same answers; and whatever pauses a peer makes, answers are
/// bounded and there is a deadline.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string whole = AnswersTo(input, std::max<std::size_t>(size, 1));
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{64}}) {
    CHECK(AnswersTo(input, piece) == whole);
  }
  CHECK(whole.size() <= 15 * size + PrimeConnection::kAnswerBytesMax);

  // Pauses: the byte 0x80 stands for one, and is not sent.
  PrimeConnection connection(&kOptions, kStart);
  PrimeAnswers answers;
  ds::TimePoint now = kStart;
  for (const char& byte : input) {
    const std::size_t before = answers.bytes.size();
    if (byte == '\x80') {
      const ds::TimePoint deadline = connection.NextDeadline();
      CHECK(deadline > now && deadline <= now + kOptions.idle_timeout);
      now = deadline;
      connection.HandleTimeout(now, &answers);
      CHECK(!connection.awaits_pause());
      if (connection.timed_out()) break;
    } else {
      connection.HandleBytes({&byte, 1}, now, &answers);
    }
    CHECK(answers.bytes.size() - before <= PrimeConnection::kAnswerBytesMax);
  }
  return 0;
}
