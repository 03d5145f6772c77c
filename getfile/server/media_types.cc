#include "getfile/server/media_types.h"

#include <fnmatch.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "common/fs/read_file.h"

namespace ds::getfile {
namespace {

constexpr char kDatabase[] = "/usr/share/mime/globs2";

std::string_view TakeUpTo(char separator, std::string_view* rest) {
  const std::size_t end = std::min(rest->find(separator), rest->size());
  const std::string_view taken = rest->substr(0, end);
  rest->remove_prefix(std::min(end + 1, rest->size()));
  return taken;
}

}  // namespace

MediaTypes::MediaTypes(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = TakeUpTo('\n', &text);
    if (line.starts_with('#')) continue;
    TakeUpTo(':', &line);  // the weight: lines are sorted by it, so the first one wins
    const std::string type(TakeUpTo(':', &line));
    const std::string glob(TakeUpTo(':', &line));
    if (type.empty() || glob.empty()) continue;
    const std::size_t wild = glob.find_first_of("*?[");
    if (wild == std::string::npos) {
      by_name_.emplace(glob, type);
    } else if (glob.front() == '*' && glob.size() > 1 &&
               glob.find_first_of("*?[", 1) == std::string::npos) {
      by_suffix_.emplace(glob.substr(1), type);
    } else {
      by_glob_.emplace_back(glob, type);
    }
  }
}

const MediaTypes& MediaTypes::OfThisMachine() {
  static const MediaTypes types = [] {
    auto text = fs::ReadFile(kDatabase);
    if (!text.ok()) {
      spdlog::warn("media types: {} (is shared-mime-info installed?)", Message(text.status()));
    }
    return MediaTypes(text.ok() ? std::string_view(*text) : std::string_view());
  }();
  return types;
}

const std::string* MediaTypes::Find(const std::string& name) const {
  if (const auto found = by_name_.find(name); found != by_name_.end()) return &found->second;
  // The longest suffix wins: ".tar.gz" before ".gz".
  for (std::size_t at = 0; at < name.size(); ++at) {
    if (at > 0 && name[at] != '.' && name[at] != '~' && name[at] != ',') continue;
    if (const auto found = by_suffix_.find(name.substr(at)); found != by_suffix_.end()) {
      return &found->second;
    }
  }
  for (const auto& [glob, type] : by_glob_) {
    if (::fnmatch(glob.c_str(), name.c_str(), 0) == 0) return &type;
  }
  return nullptr;
}

std::string MediaTypes::TypeOf(std::string_view file_name) const {
  std::string name(file_name.substr(file_name.rfind('/') + 1));
  const std::string* type = Find(name);
  if (type == nullptr) {  // as it stands first: "*.C" is C++ and "*.c" is C
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    type = Find(name);
  }
  if (type == nullptr) return "application/octet-stream";
  return type->starts_with("text/") ? *type + "; charset=utf-8" : *type;
}

}  // namespace ds::getfile
