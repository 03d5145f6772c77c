#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "compute/core/classic_broker.h"
#include "compute/core/text.h"

using namespace ds::compute;  // NOLINT(google-build-using-namespace)

/// The first byte of each line of the input says who says the rest of it. Whatever that is,
/// everything stays bounded, is published in UTF-8, and ends when its time is over.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  ClassicBroker::Options options;
  options.open_max = 4;
  options.subscriptions_max = 4;
  ClassicBroker broker(options);
  ds::TimePoint now{std::chrono::seconds(1000)};
  while (!input.empty()) {
    const std::string_view line = input.substr(0, input.find('\n'));
    input.remove_prefix(std::min(input.size(), line.size() + 1));
    if (line.empty()) continue;
    const std::string_view rest = line.substr(1);
    if (line[0] == 'c') CHECK(CheckUtf8("", broker.HandleLine(rest, now)).ok());
    if (line[0] == 'w') broker.HandleAnswer(rest, now);
    if (line[0] == 's') broker.HandleSubscription('\1' + std::string(rest), now);
    if (line[0] == 'u') broker.HandleSubscription(std::string(1, '\0') + std::string(rest), now);
    if (line[0] == 'x') broker.HandleSubscription(rest, now);
    if (line[0] == 't') {
      now += std::chrono::milliseconds(300);
      broker.HandleTimeout(now);
    }
    const auto output = broker.TakeOutput();
    for (const std::string& text : output.to_clients) CHECK(CheckUtf8("", text).ok());
    for (const std::string& text : output.to_workers) CHECK(ParseCommand(text)->Line() == text);
    CHECK(broker.open() <= 4);
  }
  broker.HandleTimeout(now + std::chrono::seconds(1));
  CHECK(broker.open() == 0 && !broker.NextDeadline());
  return 0;
}
