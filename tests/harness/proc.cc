#include "tests/harness/proc.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

namespace ds::testing {

std::vector<std::string> StatFields(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  std::vector<std::string> fields;
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return fields;
  std::istringstream rest(text.substr(name_end + 1));
  for (std::string field; rest >> field;) fields.push_back(field);
  return fields;
}

std::vector<std::string> ListFolder(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    paths.push_back(entry->path().string());
  }
  return paths;
}

bool StandsStill(pid_t pid) {
  for (const std::string& thread : ListFolder(fmt::format("/proc/{}/task", pid))) {
    const auto fields = StatFields(thread + "/stat");
    if (!fields.empty() && fields[0] != "T" && fields[0] != "Z" && fields[0] != "X") return false;
  }
  return true;
}

}  // namespace ds::testing
