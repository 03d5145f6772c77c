#include "common/fs/key_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "tests/harness/temp_dir.h"

namespace ds::fs {
namespace {

using ::ds::testing::TempDir;
using ::testing::HasSubstr;

TEST(KeyFileTest, TheKeyIsTheFileWithoutOneLineEnd) {
  const TempDir folder;
  const std::string key = "0123456789abcdef";
  const struct {
    std::string content;
    std::string key;
  } kCases[] = {
      {key, key},
      {key + "\n", key},
      {key + "\r\n", key},
      {key + "\n\n", key + "\n"},
      {std::string(16, '\0'), std::string(16, '\0')},
      {" " + key + " ", " " + key + " "},
      {std::string(4096, 'k') + "\r\n", std::string(4096, 'k')},
  };
  for (const auto& c : kCases) {
    const auto file = ReadKeyFile(folder.Write("key", c.content));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->key, c.key);
  }
}

TEST(KeyFileTest, TooShortTooLongOrMissingIsAnErrorThatNamesTheFile) {
  const TempDir folder;
  const struct {
    std::string content;
    std::string why;
  } kCases[] = {
      {"", "of 0 bytes is too short"},
      {"\n", "of 0 bytes is too short"},
      {std::string(15, 'k') + "\n", "of 15 bytes is too short, at least 16"},
      {std::string(4097, 'k'), "at most 4096 bytes"},
      {std::string(4097, 'k') + "\n", "at most 4096 bytes"},
      {std::string(100'000, 'k'), "at most 4096 bytes"},
  };
  for (const auto& c : kCases) {
    const std::string path = folder.Write("key", c.content);
    const auto file = ReadKeyFile(path);
    EXPECT_TRUE(absl::IsInvalidArgument(file.status())) << file.status();
    EXPECT_THAT(Message(file.status()), HasSubstr(c.why));
    EXPECT_THAT(Message(file.status()), HasSubstr(path));
  }
  EXPECT_TRUE(absl::IsNotFound(ReadKeyFile(folder.path("none")).status()));
}

TEST(KeyFileTest, SaysWhetherOthersMayReadIt) {
  const TempDir folder;
  const std::string path = folder.Write("key", std::string(32, 'k'));
  for (const auto& [mode, others] : {std::pair<mode_t, bool>{0600, false},
                                     {0400, false},
                                     {0640, true},
                                     {0604, true},
                                     {0644, true},
                                     {0620, false}}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    const auto file = ReadKeyFile(path);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->others_may_read, others) << std::oct << mode;
  }
}

}  // namespace
}  // namespace ds::fs
