#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>

#include "common/base/check.h"
#include "compute/core/text.h"
#include "compute/text/text_command.h"

namespace compute = ds::compute;

/// A line is refused, or a command whose texts are UTF-8 and part of the line.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  const auto command = compute::ParseTextCommand(line);
  if (!command.ok()) return 0;
  const auto part_of_line = [&](const std::string& text) {
    CHECK(line.find(text) != std::string_view::npos && compute::CheckUtf8("text", text).ok());
  };
  if (const auto* reverse = std::get_if<compute::ReverseCommand>(&*command)) {
    part_of_line(reverse->text);
  }
  if (const auto* split = std::get_if<compute::SplitCommand>(&*command)) part_of_line(split->text);
  if (const auto* primes = std::get_if<compute::IsPrimeCommand>(&*command)) {
    CHECK(!primes->numbers.empty());
    for (const std::string& number : primes->numbers) part_of_line(number);
  }
  return 0;
}
