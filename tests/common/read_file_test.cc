#include "common/fs/read_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "tests/harness/temp_dir.h"

namespace ds::fs {
namespace {

using ::testing::HasSubstr;

TEST(ReadFileTest, WholeFileIsRead) {
  const testing::TempDir folder;
  for (const std::size_t size : {0U, 1U, 65'535U, 65'536U, 65'537U, 200'000U}) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31);
    const auto read = ReadFile(folder.Write("file", text));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, text) << size;
  }
}

TEST(ReadFileTest, LimitIsInclusive) {
  const testing::TempDir folder;
  const std::string path = folder.Write("file", "12345");
  EXPECT_TRUE(ReadFile(path, 5).ok());
  const auto refused = ReadFile(path, 4);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(refused.status()), HasSubstr(path));
}

TEST(ReadFileTest, MissingFileIsNamed) {
  const testing::TempDir folder;
  const auto read = ReadFile(folder.path("missing"));
  EXPECT_EQ(read.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(read.status()), HasSubstr(folder.path("missing")));
}

TEST(ReadFileTest, FolderIsRefused) {
  const testing::TempDir folder;
  EXPECT_THAT(Message(ReadFile(folder.path()).status()), HasSubstr("Is a directory"));
}

TEST(ReadFileTest, FifoWithoutAWriterDoesNotHang) {
  const testing::TempDir folder;
  ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
  const auto read = ReadFile(folder.path("fifo"));
  EXPECT_TRUE(!read.ok() || read->empty());
}

}  // namespace
}  // namespace ds::fs
