#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace ds::compute {

/// What all three services are asked, and what they have to answer: testdata/vectors.json, made by
/// another implementation (Python's integers and strings).
inline nlohmann::json ReadVectors() {
  const char* source = std::getenv("DS_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe)
  std::ifstream file(std::filesystem::path(source != nullptr ? source : ".") /
                     "tests/compute/testdata/vectors.json");
  return nlohmann::json::parse(file);
}

}  // namespace ds::compute
