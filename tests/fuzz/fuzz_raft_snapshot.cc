#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/base/big_endian.h"
#include "common/base/check.h"
#include "common/fs/crc32c.h"
#include "raft/storage/snapshot_file.h"
#include "tests/sim/sim_disk.h"

namespace {

using ds::fs::Crc32c;

/// The checksum of `size` bytes from `from` on, behind them.
void Mend(std::string* bytes, std::size_t from, std::size_t size) {
  std::string crc;
  ds::AppendU32(&crc, Crc32c(std::string_view(*bytes).substr(from, size)));
  bytes->replace(from + size, crc.size(), crc);
}

}  // namespace

/// The first byte: bit 0 mends the checksums of the header and of the table. What opens can be read
/// in any parts, and all of its bytes are there or none.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((data[0] & 1U) != 0 && bytes.size() >= 40) {
    ds::BigEndianReader reader(std::string_view(bytes).substr(12));
    const std::size_t header = 40 + std::size_t{*reader.U32()};
    const std::uint64_t length = *reader.U64();
    if (header + 4 <= bytes.size()) Mend(&bytes, 0, header);
    const std::size_t table = header + 4 + static_cast<std::size_t>(length % (1U << 20U));
    if (table + 4 <= bytes.size()) Mend(&bytes, table, bytes.size() - 4 - table);
  }
  ds::sim::SimDisk disk;
  {
    auto file = disk.OpenFile("s", ds::fs::Disk::Open::kEmpty);
    CHECK(file.ok());
    CHECK((*file)->WriteAt(0, std::as_bytes(std::span(bytes))).ok());
  }
  const auto snapshot = ds::raft::SnapshotFile::Open(disk, "s");
  if (!snapshot.ok()) return 0;
  const std::uint64_t all = snapshot->meta().bytes;
  CHECK(all < bytes.size());
  const auto whole = snapshot->ReadAt(0, ~std::uint64_t{0});
  if (!whole.ok()) return 0;
  CHECK(whole->size() == all);
  const auto part = snapshot->ReadAt(all / 3, all / 2);
  CHECK(part.ok() && *part == whole->substr(static_cast<std::size_t>(all / 3), part->size()));
  CHECK(snapshot->ReadAt(all, 1)->empty());
  return 0;
}
