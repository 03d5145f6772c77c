#include "compute/core/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/compute/vectors.h"

namespace ds::compute {
namespace {

using namespace std::string_view_literals;

TEST(TextTest, TheVectorsHold) {
  const auto vectors = ReadVectors();
  ASSERT_GE(vectors["reverse"].size(), 10U);
  for (const auto& vector : vectors["reverse"]) {
    const auto reversed = Reverse(vector["text"].get<std::string>());
    ASSERT_TRUE(reversed.ok()) << vector;
    EXPECT_EQ(*reversed, vector["reversed"]) << vector;
  }
  ASSERT_GE(vectors["split"].size(), 10U);
  for (const auto& vector : vectors["split"]) {
    const auto parts =
        Split(vector["text"].get<std::string>(), vector["delimiter"].get<std::string>());
    EXPECT_EQ(parts.ok(), !vector.contains("error")) << vector;
    if (!parts.ok()) continue;
    EXPECT_EQ(nlohmann::json(*parts), vector["parts"]) << vector;
    EXPECT_EQ(CountParts(vector["text"].get<std::string>(), vector["delimiter"].get<std::string>()),
              parts->size())
        << vector;
  }
}

class MalformedTextTest : public ::testing::TestWithParam<std::string_view> {};

TEST_P(MalformedTextTest, IsRefused) {
  const std::string text = "a" + std::string(GetParam()) + "b";
  EXPECT_EQ(Message(Reverse(text).status()), "text: not UTF-8 at byte 1");
  EXPECT_EQ(Message(Split(text, " ").status()), "text: not UTF-8 at byte 1");
  EXPECT_EQ(Message(Split("x", text).status()), "delimiter: not UTF-8 at byte 1");
}

INSTANTIATE_TEST_SUITE_P(Table, MalformedTextTest,
                         ::testing::Values("\x80"sv,              // continuation without a lead
                                           "\xc3"sv,              // lead without continuation
                                           "\xc0\xaf"sv,          // overlong
                                           "\xc1\xbf"sv,          // overlong
                                           "\xe0\x9f\xbf"sv,      // overlong
                                           "\xed\xa0\x80"sv,      // surrogate
                                           "\xe6\x97"sv,          // cut
                                           "\xf0\x8f\xbf\xbf"sv,  // overlong
                                           "\xf4\x90\x80\x80"sv,  // above U+10FFFF
                                           "\xf5\x80\x80\x80"sv, "\xf0\x9f\x99"sv,  // cut
                                           "\xff"sv));

TEST(TextTest, CutAtTheVeryEndIsRefusedToo) {
  EXPECT_FALSE(Reverse("ab\xc3").ok());
  EXPECT_FALSE(Reverse("\xf0\x9f\x99").ok());
}

TEST(TextTest, ReversedTwiceIsTheTextItself) {
  const std::string text = "päivää, 世界 🙂!";
  EXPECT_EQ(*Reverse(*Reverse(text)), text);
}

TEST(TextTest, ThereIsOneMorePartThanDelimiters) {
  EXPECT_EQ(Split(std::string(1000, '-'), "-")->size(), 1001U);
}

TEST(TextTest, ADelimiterThatNearlyFitsEverywhereIsLookedForInLinearTime) {
  // A search that begins anew at each byte compares 10^13 bytes in each of these, and meets the
  // time limit of the test program.
  constexpr std::size_t kDelimiter = 4U << 20U;
  const std::string text(2 * kDelimiter, 'a');
  const std::string same(kDelimiter - 1, 'a');
  for (const std::string& delimiter :
       {same + 'b', 'b' + same, std::string(kDelimiter / 2, 'a') + 'b' + same}) {
    EXPECT_EQ(CountParts(text, delimiter), 1U);
    EXPECT_EQ(Split(text, delimiter)->size(), 1U);
    std::string both = text;
    both.append(delimiter).append(text).append(delimiter);
    EXPECT_EQ(CountParts(both, delimiter), 3U);
    EXPECT_EQ(*Split(both, delimiter), (std::vector<std::string>{text, text, ""}));
  }
}

}  // namespace
}  // namespace ds::compute
