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

TEST(MediaTypesTest, TheFirstLineForANameWins) {
  const MediaTypes types(
      "80:a/heavy:*.x\n"
      "50:a/light:*.x\n"
      "80:a/name:x.y\n"
      "50:a/other:x.y\n"
      "50:a/first:q*\n"
      "50:a/second:q?\n");
  EXPECT_EQ(types.TypeOf("f.x"), "a/heavy");
  EXPECT_EQ(types.TypeOf("x.y"), "a/name");
  EXPECT_EQ(types.TypeOf("q1"), "a/first");
}

TEST(MediaTypesTest, TheLongestSuffixWins) {
  const MediaTypes types(
      "50:a/short:*.c\n"
      "50:a/long:*.b.c\n"
      "50:a/backup:*~\n"
      "50:a/comma:*,v\n"
      "50:a/end:*end\n");
  EXPECT_EQ(types.TypeOf("a.c"), "a/short");
  EXPECT_EQ(types.TypeOf("a.b.c"), "a/long");
  EXPECT_EQ(types.TypeOf("a.x.c"), "a/short");
  EXPECT_EQ(types.TypeOf(".b.c"), "a/long");
  EXPECT_EQ(types.TypeOf("a.c~"), "a/backup");
  EXPECT_EQ(types.TypeOf("a.c,v"), "a/comma");
  EXPECT_EQ(types.TypeOf("end"), "a/end") << "the whole name";
  EXPECT_EQ(types.TypeOf("c"), "application/octet-stream");
  EXPECT_EQ(types.TypeOf("ac"), "application/octet-stream");
}

TEST(MediaTypesTest, GlobsMayHaveClassesAndWildcardsAnywhere) {
  const MediaTypes types(
      "50:a/class:[Rr]eadme\n"
      "50:a/number:lib*.so.[0-9]\n"
      "50:a/one:?.one\n");
  EXPECT_EQ(types.TypeOf("/x/Readme"), "a/class");
  EXPECT_EQ(types.TypeOf("README"), "a/class") << "in lower case";
  EXPECT_EQ(types.TypeOf("libz.so.1"), "a/number");
  EXPECT_EQ(types.TypeOf("libz.so.x"), "application/octet-stream");
  EXPECT_EQ(types.TypeOf("1.one"), "a/one");
  EXPECT_EQ(types.TypeOf("12.one"), "application/octet-stream");
}

TEST(MediaTypesTest, WhatIsNoLineOfADatabaseIsPassedOver) {
  const MediaTypes types(
      "\n"
      "::\n"
      "50\n"
      "50:a/b\n"
      "50:a/b:\n"
      "50::*.x\n"
      "#50:a/b:*.y\n"
      "50:a/flags:*.flags:cs,other\n"
      "50:a/last:*.last");
  EXPECT_EQ(types.TypeOf("1.x"), "application/octet-stream");
  EXPECT_EQ(types.TypeOf("1.y"), "application/octet-stream");
  EXPECT_EQ(types.TypeOf("1.flags"), "a/flags");
  EXPECT_EQ(types.TypeOf("1.last"), "a/last");
  EXPECT_EQ(MediaTypes("").TypeOf("index.html"), "application/octet-stream");
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
