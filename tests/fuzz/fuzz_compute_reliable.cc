#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "compute/core/reliable_broker.h"
#include "compute/core/reliable_client.h"
#include "compute/core/reliable_message.h"
#include "compute/core/reliable_worker.h"

using namespace ds::compute;  // NOLINT(google-build-using-namespace)

/// The input is frames, each behind a byte with its length: messages end at empty frames of length
/// 255. A message is refused, or is the one way to say what was read; and the three sides of the
/// protocol survive all of them.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  ds::TimePoint now{std::chrono::seconds(1000)};
  ReliableBroker::Options options;
  options.open_max = 4;
  options.workers_max = 2;
  ReliableBroker broker(options);
  ReliableWorker worker({.service = "gcd"}, now);
  ReliableClient client({}, "12345678", now);
  CHECK(client.Ask("gcd", "gcd 1 2", now).ok());
  int messages = 0;
  Frames frames;
  const auto end_message = [&] {
    const auto message = DecodeReliable(frames);
    if (message.ok()) CHECK(EncodeReliable(*message) == frames);
    const std::string peer(1, static_cast<char>('a' + ++messages % 3));
    broker.HandleFrames(peer, frames, now);
    worker.HandleFrames(frames, now);
    client.HandleFrames(frames, now);
    for (const Envelope& envelope : broker.TakeOutput()) {
      CHECK(DecodeReliable(EncodeReliable(envelope.message)).ok());
    }
    for (const WorkMessage& work : worker.TakeOutput().work) {
      worker.Finish({work.tag, AnswerStatus::kDone, work.body});
    }
    CHECK(broker.open() <= 4 && broker.workers() <= 2 && client.open() <= 1);
    now += std::chrono::milliseconds(100);
    broker.HandleTimeout(now);
    worker.HandleTimeout(now);
    client.HandleTimeout(now);
    frames.clear();
  };
  while (!input.empty()) {
    const auto length = static_cast<std::uint8_t>(input.front());
    input.remove_prefix(1);
    if (length == 255) {
      end_message();
      continue;
    }
    frames.emplace_back(input.substr(0, length));
    input.remove_prefix(std::min<std::size_t>(input.size(), length));
  }
  end_message();
  now += std::chrono::seconds(60);
  broker.HandleTimeout(now);
  client.HandleTimeout(now);
  CHECK(broker.open() == 0 && client.open() == 0);
  return 0;
}
