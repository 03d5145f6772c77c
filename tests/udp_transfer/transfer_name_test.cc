#include "udp_transfer/core/transfer_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace ds::udp_transfer {
namespace {

using ::testing::HasSubstr;

std::string Long(std::size_t bytes) { return std::string(bytes, 'n'); }

/// Of this length.
std::string Path(std::size_t bytes) {
  std::string path;
  while (path.size() + 100 < bytes) path += Long(99) + "/";
  return path + Long(bytes - path.size());
}

TEST(TransferNameTest, TakesRelativeNamesOfPlainComponents) {
  for (const std::string& name :
       {std::string("a"), std::string("a/b/c"), std::string(".hidden"), std::string("..."),
        std::string("a/..b"), std::string(" "), std::string("\xff\n | \\"), Long(255), Path(4096),
        std::string("a/.udp-partial"), std::string(".udp-partial2"), std::string("LOCK")}) {
    EXPECT_TRUE(CheckTransferName(name).ok()) << CheckTransferName(name);
  }
}

TEST(TransferNameTest, RefusesWhatLeavesItsFolderOrIsNoName) {
  const struct {
    std::string name;
    std::string why;
  } kCases[] = {
      {"", "is empty"},
      {"/", "empty component"},
      {"/etc/passwd", "empty component"},
      {"a/", "empty component"},
      {"a//b", "empty component"},
      {".", "leaves"},
      {"..", "leaves"},
      {"../a", "leaves"},
      {"a/../b", "leaves"},
      {"a/..", "leaves"},
      {"a/./b", "leaves"},
      {std::string("a\0b", 3), "zero byte"},
      {std::string("\0", 1), "zero byte"},
      {Long(256), "255 bytes"},
      {"a/" + Long(256) + "/b", "255 bytes"},
      {Path(4097), "4096 bytes"},
      {".udp-partial", "the server's own"},
      {".udp-partial/x", "the server's own"},
      {".UDP-Partial/x", "the server's own"},
      {".udp-\xc2\xadpartial/x", "the server's own"},
  };
  for (const auto& c : kCases) {
    for (const absl::Status& status : {CheckTransferName(c.name), CheckClassicName(c.name)}) {
      EXPECT_TRUE(absl::IsInvalidArgument(status)) << c.name;
    }
    EXPECT_THAT(Message(CheckTransferName(c.name)), HasSubstr(c.why));
  }
}

TEST(TransferNameTest, AClassicNameIsOneComponent) {
  EXPECT_TRUE(CheckClassicName("a").ok());
  EXPECT_TRUE(CheckClassicName("a b | c").ok());
  EXPECT_TRUE(CheckClassicName(Long(255)).ok());
  EXPECT_THAT(Message(CheckClassicName("a/b")), HasSubstr("is a path"));
}

TEST(TransferNameTest, AMessageIsOneShortLine) {
  const std::string message = Message(CheckTransferName(std::string(5000, '\n') + "/.."));
  EXPECT_LT(message.size(), 1300U);
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace ds::udp_transfer
