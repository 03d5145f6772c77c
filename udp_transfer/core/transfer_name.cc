#include "udp_transfer/core/transfer_name.h"

#include <fmt/format.h>

#include <string>

#include "common/base/parse.h"

namespace ds::udp_transfer {
namespace {

constexpr std::size_t kShownBytesMax = 300;

/// Whether a file system that takes upper and lower case for one, or ignores some characters beyond
/// ASCII, could take it for the hidden folder.
bool MayBePartialFolder(std::string_view component) {
  std::string folded;
  for (const char c : component) {
    if (static_cast<unsigned char>(c) < 0x80)
      folded += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return folded == kPartialFolder;
}

absl::Status Refused(std::string_view name, std::string_view why) {
  return InvalidArgument(
      fmt::format("name \"{}\": {}", EscapeBytes(name.substr(0, kShownBytesMax)), why));
}

}  // namespace

absl::Status CheckTransferName(std::string_view name) {
  if (name.empty()) return Refused(name, "is empty");
  if (name.size() > kTransferNameBytesMax) return Refused(name, "is longer than 4096 bytes");
  if (name.find('\0') != std::string_view::npos) return Refused(name, "contains a zero byte");
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view component = name.substr(begin, end - begin);
    if (component.empty()) return Refused(name, "has an empty component");
    if (component == "." || component == "..") return Refused(name, "leaves its folder");
    if (component.size() > kNameComponentBytesMax) {
      return Refused(name, "has a component of more than 255 bytes");
    }
    if (begin == 0 && MayBePartialFolder(component)) return Refused(name, "is the server's own");
    begin = end + 1;
  }
  return absl::OkStatus();
}

absl::Status CheckClassicName(std::string_view name) {
  if (name.find('/') != std::string_view::npos) return Refused(name, "is a path");
  return CheckTransferName(name);
}

}  // namespace ds::udp_transfer
