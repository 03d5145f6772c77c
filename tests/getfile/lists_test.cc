#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "getfile/core/checksum_list.h"
#include "getfile/core/content_list.h"
#include "getfile/core/path_list.h"

namespace ds::getfile {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(ContentListTest, TabsBlanksCommentsAndTheLastLineWithoutNewlineAreFine) {
  const ContentList list = ParseContentList(
      "# a comment\n"
      "\n"
      "/a first.txt\n"
      "/b\tsecond.txt  \t \n"
      "/c   a name with blanks.txt # and a comment\r\n"
      "   /d \t x#y   \n"
      "/\xc3\xa4 last");
  EXPECT_THAT(list.errors, IsEmpty());
  ASSERT_THAT(list.entries, SizeIs(5));
  EXPECT_EQ(list.entries[0].key, "/a");
  EXPECT_EQ(list.entries[0].file, "first.txt");
  EXPECT_EQ(list.entries[1].file, "second.txt");
  EXPECT_EQ(list.entries[2].file, "a name with blanks.txt");
  EXPECT_EQ(list.entries[3].file, "x#y");
  EXPECT_EQ(list.entries[4].key, "/\xc3\xa4");
  EXPECT_EQ(list.entries[4].file, "last");
  EXPECT_EQ(list.entries[4].line, 7U);
}

TEST(ContentListTest, AllBadLinesAreListedWithTheirNumbers) {
  const ContentList list = ParseContentList("/a x\nno-slash x\n/lonely\n/a y\n/\x01 z\n/b ok\n");
  EXPECT_THAT(list.errors, ElementsAre(HasSubstr("line 2: "), HasSubstr("line 3: "),
                                       HasSubstr("line 4: the key \"/a\" stands already in line 1"),
                                       HasSubstr("line 5: ")));
  EXPECT_THAT(list.entries, SizeIs(2));
}

TEST(ContentListTest, EmptyTextIsAnEmptyList) {
  EXPECT_THAT(ParseContentList("").entries, IsEmpty());
  EXPECT_THAT(ParseContentList("\n \n#x").errors, IsEmpty());
}

TEST(PathListTest, AnyWhiteSpaceSeparatesPaths) {
  const PathList list = ParsePathList("  /a\t/b\r\n\n/c /d\f/e\v");
  EXPECT_THAT(list.paths, ElementsAre("/a", "/b", "/c", "/d", "/e"));
  EXPECT_THAT(list.errors, IsEmpty());
}

TEST(PathListTest, WordsThatAreNoPathsAreListed) {
  const PathList list = ParsePathList("/a b /c \x01 /" + std::string(5000, 'x'));
  EXPECT_THAT(list.paths, ElementsAre("/a", "/c"));
  EXPECT_THAT(list.errors, SizeIs(3));
}

TEST(ChecksumListTest, TextAndBinaryLinesAndEscapesAreRead) {
  const std::string a(64, 'a');
  const std::string upper(64, 'B');
  const ChecksumList list =
      ParseChecksumList(a + "  x/y\n" + upper + " *./z w\n\\" + a + "  new\\nline\\\\\n");
  EXPECT_THAT(list.errors, IsEmpty());
  EXPECT_EQ(list.digest_of.at("x/y"), a);
  EXPECT_EQ(list.digest_of.at("z w"), std::string(64, 'b'));
  EXPECT_EQ(list.digest_of.at("new\nline\\"), a);
}

TEST(ChecksumListTest, OtherLinesAreErrors) {
  const std::string a(64, 'a');
  const ChecksumList list = ParseChecksumList(
      "x\n" + a + "\n" + a + " x\n" + std::string(63, 'a') + "g  x\n" + std::string(65, 'a') +
      "  x\n\\" + a + "  bad\\q\n" + a + "  ok\n" + std::string(64, 'b') + "  ok\n");
  EXPECT_THAT(list.errors, SizeIs(7));
  EXPECT_THAT(list.digest_of, SizeIs(1));
}

}  // namespace
}  // namespace ds::getfile
