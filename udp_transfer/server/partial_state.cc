#include "udp_transfer/server/partial_state.h"

#include <fmt/format.h>

#include <span>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "udp_transfer/core/transfer_name.h"
#include "udp_transfer/core/wire.h"
#include "udp_transfer/seal/file_digest.h"

namespace ds::udp_transfer {
namespace {

constexpr std::string_view kMagic = "dsudpart";
constexpr char kStateVersion = 1;
constexpr std::size_t kDigestBytes = 16;
constexpr std::size_t kFixedBytes = 8 + 1 + 8 + 16 + 8 + kDigestBytes + 2 + kDigestBytes;

std::string Xxh3(std::string_view bytes) {
  FileDigest digest{DigestKey()};
  digest.Update(std::as_bytes(std::span(bytes)));
  return digest.Value();
}

std::string_view Take(std::string_view* bytes, std::size_t size) {
  const std::string_view taken = bytes->substr(0, size);
  bytes->remove_prefix(taken.size());
  return taken;
}

std::string_view Text(const std::array<std::byte, 16>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

absl::Status Damaged(std::string_view why) {
  return Error(absl::StatusCode::kDataLoss,
               fmt::format("read the state of a partial file: {}", why));
}

}  // namespace

std::string PartialState::Encode() const {
  CHECK(digest.size() == kDigestBytes && name.size() <= kTransferNameBytesMax);
  std::string out(kMagic);
  out.push_back(kStateVersion);
  AppendBigEndian(&out, size, 8);
  out.append(Text(identity));
  AppendBigEndian(&out, durable_bytes, 8);
  out.append(digest);
  AppendBigEndian(&out, name.size(), 2);
  out.append(name);
  out.append(Xxh3(out));
  return out;
}

absl::StatusOr<PartialState> PartialState::Parse(std::string_view bytes) {
  if (!bytes.starts_with(kMagic) || bytes.size() <= kMagic.size()) return Damaged("no magic");
  if (bytes[kMagic.size()] > kStateVersion) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "read the state of a partial file: it was written by a newer version");
  }
  if (bytes.size() < kFixedBytes) return Damaged("too short");
  const std::string_view checked = bytes.substr(0, bytes.size() - kDigestBytes);
  if (bytes.substr(checked.size()) != Xxh3(checked)) return Damaged("wrong checksum");
  std::string_view rest = checked.substr(kMagic.size());
  PartialState state;
  if (TakeBigEndian(&rest, 1) != kStateVersion) return Damaged("unknown version");
  state.size = TakeBigEndian(&rest, 8);
  for (std::byte& byte : state.identity) byte = static_cast<std::byte>(TakeBigEndian(&rest, 1));
  state.durable_bytes = TakeBigEndian(&rest, 8);
  state.digest = Take(&rest, kDigestBytes);
  const std::uint64_t name_bytes = TakeBigEndian(&rest, 2);
  if (name_bytes != rest.size()) return Damaged("wrong length of the name");
  state.name = rest;
  if (!CheckTransferName(state.name).ok()) return Damaged("bad name");
  if (state.durable_bytes > state.size) return Damaged("more than the whole file");
  return state;
}

std::string PartialState::Key() const {
  std::string text;
  AppendBigEndian(&text, size, 8);
  text.append(Text(identity));
  text.append(name);
  return ToHex(Xxh3(text));
}

}  // namespace ds::udp_transfer
