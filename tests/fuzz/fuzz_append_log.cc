#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/fs/append_log.h"
#include "common/fs/crc32c.h"
#include "tests/sim/sim_disk.h"

namespace {

using ds::fs::AppendLog;
using ds::fs::Crc32c;

constexpr std::size_t kSegmentHeaderBytes = 32;
constexpr std::size_t kGroupHeaderBytes = 36;

void PutU32(std::string* bytes, std::size_t at, std::uint32_t value) {
  for (int i = 3; i >= 0; --i, value >>= 8U) {
    (*bytes)[at + static_cast<std::size_t>(i)] = static_cast<char>(value & 0xffU);
  }
}

/// Makes the checksums of the segment's header and of its first group right: random bytes would
/// hardly ever get past them.
void Mend(std::string* bytes) {
  const auto view = [&](std::size_t from, std::size_t size) {
    return std::string_view(*bytes).substr(from, size);
  };
  if (bytes->size() < kSegmentHeaderBytes) return;
  const std::uint32_t seed = Crc32c(view(0, kSegmentHeaderBytes - 4));
  PutU32(bytes, kSegmentHeaderBytes - 4, seed);
  constexpr std::size_t kGroup = kSegmentHeaderBytes;
  if (bytes->size() < kGroup + kGroupHeaderBytes) return;
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    length = length << 8U | static_cast<std::uint8_t>((*bytes)[kGroup + 8 + i]);
  }
  const std::size_t records = kGroup + kGroupHeaderBytes;
  if (length <= bytes->size() - records) {
    PutU32(bytes, kGroup + 4, Crc32c(view(records, static_cast<std::size_t>(length)), seed));
  }
  PutU32(bytes, kGroup, Crc32c(view(kGroup + 4, kGroupHeaderBytes - 4), seed));
}

void Put(ds::sim::SimDisk* disk, const std::string& name, const std::string& content) {
  auto file = disk->OpenFile(name, ds::fs::Disk::Open::kEmpty);
  CHECK(file.ok());
  CHECK((*file)->WriteAt(0, std::as_bytes(std::span(content))).ok());
}

absl::StatusOr<std::unique_ptr<AppendLog>> Open(ds::sim::SimDisk* disk,
                                                std::vector<std::string>* records) {
  AppendLog::Options options;
  options.salt = 1;
  return AppendLog::Open(*disk, "", options, [records](const AppendLog::Record& record) {
    records->push_back(static_cast<char>(record.type) + std::string(record.payload));
    return absl::OkStatus();
  });
}

}  // namespace

/// The first byte: bit 0 mends checksums, bit 1 puts a whole segment behind. The rest is the first
/// segment. What opens, opens again with the same records, and can be added to.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((data[0] & 1U) != 0) Mend(&bytes);
  ds::sim::SimDisk disk;
  Put(&disk, "00000000000000000001.log", bytes);
  if ((data[0] & 2U) != 0) Put(&disk, "00000000000000000002.log", bytes);
  std::vector<std::string> first;
  auto log = Open(&disk, &first);
  if (!log.ok()) return 0;
  CHECK((*log)->next_number() == first.size() + 1);
  (*log)->Append(9, {"more"});
  CHECK((*log)->Sync().ok());
  first.push_back("\x09more");
  std::vector<std::string> second;
  log = Open(&disk, &second);
  CHECK(log.ok() && (*log)->recovery().torn_bytes == 0);
  CHECK(first == second);
  return 0;
}
