#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/base/check.h"
#include "ipc_proxy_cache/shm/record.h"

using ds::ipc_proxy_cache::Record;

namespace {

volatile std::uint8_t sink = 0;

void Touch(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  for (std::size_t i = 0; i < size; ++i) sink = bytes[i];
}

}  // namespace

/// Memory with records at any multiple of 64: what is accepted lies within the memory.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // As large as the input to the byte, so that a step beyond is found.
  std::vector<std::uint64_t> words((size + 7) / 8);
  auto* const copy = reinterpret_cast<std::byte*>(words.data());
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, copy);
  const std::span<const std::byte> memory(copy, size);
  for (std::uint64_t offset = 0; offset <= size; offset += 64) {
    const auto record = Record::Read(memory, offset);
    if (!record.ok()) continue;
    CHECK(record->Filled() <= record->body_bytes());
    CHECK(record->body_offset() + record->body_bytes() <= size);
    Touch(record->key().data(), record->key().size());
    Touch(record->fields().data(), record->fields().size());
    Touch(record->Body().data(), record->Body().size());
  }
  return 0;
}
