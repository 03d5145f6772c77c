#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "common/base/check.h"
#include "raft/storage/record.h"

namespace {

using namespace ds::raft;  // NOLINT(google-build-using-namespace)

std::string Encode(const SegmentStart& start) {
  return std::string(AsView(EncodeHardState(start.hard_state)))
      .append(AsView(EncodePosition(start.last)));
}
std::string Encode(const HardState& hard_state) {
  return std::string(AsView(EncodeHardState(hard_state)));
}
std::string Encode(const Entry& entry) {
  return std::string(AsView(EncodeEntryHead(entry))).append(entry.data);
}
std::string Encode(const Restart& restart) {
  return std::string(AsView(EncodePosition(restart.position)));
}

}  // namespace

/// The first byte is the type. What is taken is written in the same way.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view payload(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto record = DecodeRecord(data[0], payload);
  if (record.ok()) {
    CHECK(record->index() + 1 == data[0]);
    CHECK(std::visit([](const auto& taken) { return Encode(taken); }, *record) == payload);
  }
  return 0;
}
