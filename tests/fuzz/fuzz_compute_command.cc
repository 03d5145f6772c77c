#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "compute/core/command.h"

using namespace ds::compute;  // NOLINT(google-build-using-namespace)

/// A line is no command, a wrong one, or one with one way to write it and an answer that is known
/// as its own.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  if (const auto about = ParseAnswer(line)) {
    CHECK(*ParseCommand(about->Line()) == *about);
    CHECK(IsAnswerTo(about->Line(), line));
  }
  CHECK(IsAnswerTo(line, ErrorAnswer(line, "why")) || ParseCommand(line).ok());
  if (!IsCommandLine(line)) return 0;
  const auto command = ParseCommand(line);
  if (!command.ok()) return 0;
  CHECK(*ParseCommand(command->Line()) == *command);
  CHECK(ParseAnswer(command->Answer()) == *command);
  CHECK(IsAnswerTo(line, command->Answer()));
  CHECK(IsAnswerTo(line, ErrorAnswer(command->Line(), "why")));
  return 0;
}
