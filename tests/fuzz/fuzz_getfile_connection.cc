#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "getfile/core/server_connection.h"

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using ds::getfile::AnswerStatus;
using ds::getfile::ServerConnection;
using Phase = ServerConnection::Phase;

const ds::getfile::ContentFields kFields{.content_type = "t/t",
                                         .etag = "\"e\"",
                                         .last_modified = "Sun, 06 Nov 1994 08:49:37 GMT",
                                         .modified_unix_s = 784111777};

/// The input is a script: each step's first byte chooses what happens (as far as the phase allows),
/// the second how much. Nothing a peer, a source or the clock does may break an invariant.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ServerConnection::Options options{};
  ds::TimePoint now{1s};
  ServerConnection connection(&options, now, size > 0 && (data[0] & 0x80U) != 0);
  std::string_view input(reinterpret_cast<const char*>(data), size);
  while (input.size() >= 2 && connection.phase() != Phase::kClosed) {
    const auto choice = static_cast<std::uint8_t>(input[0]);
    const auto amount = static_cast<std::uint8_t>(input[1]);
    input.remove_prefix(2);
    now += std::chrono::milliseconds(amount);
    const std::string_view bytes = input.substr(0, amount);
    if (choice % 16 == 15) connection.BeginShutdown(now);
    if (choice % 16 == 14) connection.HandlePeerGone(now);
    if (choice % 16 == 13 && connection.NextDeadline()) {
      now = std::max(now, *connection.NextDeadline());
      connection.HandleTimeout(amount, now);
    }
    switch (connection.phase()) {
      case Phase::kReading:
      case Phase::kDraining:
        if (choice % 16 == 12) {
          connection.HandleEndOfInput(amount, now);
        } else {
          connection.HandleBytes(bytes, now);
          input.remove_prefix(bytes.size());
        }
        break;
      case Phase::kLookup:
        CHECK(connection.request().path.starts_with('/'));
        connection.HandleLookup({.status = static_cast<AnswerStatus>(choice % 3),
                                 .length = static_cast<std::uint64_t>(amount) << 8U,
                                 .fields = &kFields,
                                 .is_folder = choice % 2 == 0},
                                now);
        break;
      case Phase::kSending: {
        const std::uint64_t left = connection.head_left().size() + connection.body_left();
        CHECK(left > 0);
        if (choice % 16 == 11) {
          connection.HandleSourceBroken(now);
        } else {
          connection.HandleSent(std::min<std::uint64_t>(left, std::uint64_t{37} * amount), now);
          if (choice % 16 == 10 && connection.phase() == Phase::kSending &&
              connection.body_left() > 0) {
            connection.HandleBodyLate();
          }
        }
        break;
      }
      case Phase::kAwaiting:
        CHECK(connection.body_left() > 0);
        if (choice % 16 == 11) {
          connection.HandleSourceBroken(now);
        } else if (choice % 16 == 12) {
          // However late the source is, a peer that has taken everything is not to blame.
          for (int i = 0; i < 8; ++i) {
            now = *connection.NextDeadline();
            connection.HandleTimeout(/*unacknowledged=*/0, now);
            CHECK(connection.phase() == Phase::kAwaiting);
          }
        } else if (choice % 16 != 10) {
          connection.HandleBodyGrown();
        }
        break;
      case Phase::kClosed:
        break;
    }
    if (connection.phase() != Phase::kLookup && connection.phase() != Phase::kClosed) {
      CHECK(connection.NextDeadline().has_value(), "every wait for the peer ends");
    }
    if (const auto finished = connection.TakeFinished()) {
      CHECK(finished->body_sent <= finished->body_length);
    }
  }
  return 0;
}
