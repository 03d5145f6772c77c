#include "raft/core/planted_bug.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace ds::raft {
namespace {

TEST(PlantedBug, EachHasANameOfItsOwnThatIsReadBack) {
  std::set<std::string> names;
  for (const PlantedBug bug : kPlantedBugs) {
    names.emplace(Name(bug));
    EXPECT_EQ(ParsePlantedBug(Name(bug)), bug);
  }
  EXPECT_EQ(names.size(), kPlantedBugs.size());
  EXPECT_EQ(ParsePlantedBug(Name(PlantedBug::kNone)), PlantedBug::kNone);
}

TEST(PlantedBug, AnUnknownNameIsRefused) {
  EXPECT_EQ(ParsePlantedBug(""), std::nullopt);
  EXPECT_EQ(ParsePlantedBug("no-such-bug"), std::nullopt);
}

}  // namespace
}  // namespace ds::raft
