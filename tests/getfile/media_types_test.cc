#include "getfile/server/media_types.h"

#include <gtest/gtest.h>

namespace ds::getfile {
namespace {

TEST(MediaTypesTest, NamesSuffixesAndGlobsAreFoundInThisOrder) {
  const MediaTypes types(
      "# comment\n"
      "60:application/x-tar-gz:*.tar.gz\n"
      "50:application/gzip:*.gz\n"
      "50:text/x-makefile:makefile\n"
      "50:text/html:*.html\n"
      "50:text/x-c++src:*.C:cs\n"
      "50:text/x-csrc:*.c\n"
      "40:text/other:*.html\n"
      "50:text/x-readme:readme*\n"
      "broken\n");
  EXPECT_EQ(types.TypeOf("/a/b.tar.gz"), "application/x-tar-gz");
  EXPECT_EQ(types.TypeOf("/a.tar/b.gz"), "application/gzip");
  EXPECT_EQ(types.TypeOf("/x/Makefile"), "text/x-makefile; charset=utf-8");
  EXPECT_EQ(types.TypeOf("index.HTML"), "text/html; charset=utf-8");
  EXPECT_EQ(types.TypeOf("a.C"), "text/x-c++src; charset=utf-8");
  EXPECT_EQ(types.TypeOf("a.c"), "text/x-csrc; charset=utf-8");
  EXPECT_EQ(types.TypeOf("README.Debian"), "text/x-readme; charset=utf-8");
  EXPECT_EQ(types.TypeOf("/no/type"), "application/octet-stream");
  EXPECT_EQ(types.TypeOf(""), "application/octet-stream");
}

TEST(MediaTypesTest, TheDatabaseOfThisMachineKnowsTheWeb) {
  const MediaTypes& types = MediaTypes::OfThisMachine();
  EXPECT_EQ(types.TypeOf("/index.html"), "text/html; charset=utf-8");
  EXPECT_EQ(types.TypeOf("/style.css"), "text/css; charset=utf-8");
  EXPECT_EQ(types.TypeOf("/picture.png"), "image/png");
  EXPECT_EQ(types.TypeOf("/data.json"), "application/json");
}

}  // namespace
}  // namespace ds::getfile
