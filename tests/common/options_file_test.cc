#include "common/daemon/options_file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/harness/temp_dir.h"

namespace ds::daemon {
namespace {

using ::ds::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// A program with a few options, and its options file.
class OptionsFileTest : public ::testing::Test {
 protected:
  /// What the program says of a file with this content; nothing if it takes it.
  std::string Read(const std::string& content) {
    listen_.clear();
    key_file_.clear();
    threads_ = 0;
    classic_ = false;
    CLI::App app;
    app.add_option("--listen", listen_);
    app.add_option("--key-file", key_file_);
    app.add_option("--threads,-t", threads_);
    app.add_flag("--classic", classic_);
    app.set_config("--options");
    app.config_formatter(std::make_shared<OptionsFile>(&app));
    app.allow_config_extras(false);
    try {
      app.parse("--options " + folder_.Write("o", content));
    } catch (const CLI::Error& error) {
      return error.what();
    }
    return "";
  }
  std::string AtLine(int line, const std::string& why) {
    return fmt::format("options file \"{}\", line {}: {}", folder_.path("o"), line, why);
  }

  TempDir folder_;
  std::vector<std::string> listen_;
  std::string key_file_;
  int threads_ = 0;
  bool classic_ = false;
};

TEST_F(OptionsFileTest, LinesAreOptions) {
  EXPECT_EQ(Read("# all of them\n\nkey-file = /etc/key # where it is\n  threads=7\n"
                 "classic = true\nlisten = 'a'"),
            "");
  EXPECT_EQ(key_file_, "/etc/key");
  EXPECT_EQ(threads_, 7);
  EXPECT_TRUE(classic_);
  EXPECT_THAT(listen_, ElementsAre("a"));
  EXPECT_EQ(Read("\"threads\" = 3\nclassic = false\n"), "");
  EXPECT_EQ(threads_, 3);
  EXPECT_FALSE(classic_);
}

TEST_F(OptionsFileTest, AnEmptyFileSaysNothing) {
  for (const char* content : {"", "\n", "# nothing", " \r\n\t\n"}) {
    EXPECT_EQ(Read(content), "") << content;
  }
  EXPECT_THAT(listen_, IsEmpty());
}

TEST_F(OptionsFileTest, AnArrayMayBeWrittenInAnyLayout) {
  for (const char* layout :
       {"[\"a\", \"b\"]", "[\n\"a\",\n\"b\"\n]", "[ # all\n  'a',  # one\n  'b'   # two\n] # end",
        "['a'\n  , 'b',\n]", "[\"a\",\n \"b\"]  # two", "[a,b]", "\r\n[a,\r\n b]\r"}) {
    const std::string text = layout;
    const std::string value = text.substr(text.find('['));
    EXPECT_EQ(Read("listen = " + value + "\nthreads = 2\nkey-file = k\n"), "") << layout;
    EXPECT_THAT(listen_, ElementsAre("a", "b")) << layout;
    EXPECT_EQ(threads_, 2) << layout;
    EXPECT_EQ(key_file_, "k") << layout;
  }
}

TEST_F(OptionsFileTest, WithinQuotesNothingIsSpecial) {
  EXPECT_EQ(Read("key-file = \"/etc/a#b, [c] = 'd'\" # a comment\n"), "");
  EXPECT_EQ(key_file_, "/etc/a#b, [c] = 'd'");
  EXPECT_EQ(Read("listen = [\"[::1]:1\", 'x]#\\', \"a\\\"b\\\\\"]\n"), "");
  EXPECT_THAT(listen_, ElementsAre("[::1]:1", "x]#\\", "a\"b\\"));
}

TEST_F(OptionsFileTest, EndsOfLinesMayBeThoseOfWindows) {
  EXPECT_EQ(Read("threads = 4\r\nkey-file = \"k\"\r\nlisten = a\r\n"), "");
  EXPECT_EQ(threads_, 4);
  EXPECT_EQ(key_file_, "k");
  EXPECT_THAT(listen_, ElementsAre("a"));
}

TEST_F(OptionsFileTest, AnOptionThatComesAgainHasTheValuesOfAllItsLines) {
  EXPECT_EQ(Read("listen = a\nthreads = 1\nlisten = [b, c]\n"), "");
  EXPECT_THAT(listen_, ElementsAre("a", "b", "c"));
  EXPECT_NE(Read("threads = 1\nthreads = 2\n"), "");
}

TEST_F(OptionsFileTest, AnythingElseIsRefusedByFileAndLine) {
  const struct {
    std::string line;
    std::string why;
  } kCases[] = {
      {"threads", "\"threads\" is not \"option = value\""},
      {"[more]", "\"[more]\" is not \"option = value\""},
      {"bogus = 1", "no option \"bogus\""},
      {"= 1", "no option \"\""},
      {"threads =", "threads: the value is missing"},
      {"threads = # 1", "threads: the value is missing"},
      {"listen = []", "listen: the value is missing"},
      {"listen = [,]", "listen: the value is missing"},
      {"listen = [", "listen: the array has no end"},
      {"listen = [a,\n b # ]", "listen: the array has no end"},
      {"listen = [\"a\" \"b\"]", "listen: a comma is missing in the array"},
      {"listen = [a\nb]", "listen: a comma is missing in the array"},
      {"listen = [a, [b]]", "listen: [b needs quotes"},
      {"listen = [a] b", "listen: \"b\" stands behind the value"},
      {"listen = [::1]:80", "listen: \":80\" stands behind the value"},
      {"listen = a, b", "listen: a, b needs quotes"},
      {"key-file = a b", "key-file: a b needs quotes"},
      {"key-file = \"a", "key-file: the text has no closing quote"},
      {"key-file = \"a\nb\"", "key-file: the text has no closing quote"},
      {"key-file = 'a\"", "key-file: the text has no closing quote"},
      {"key-file = \"a\" b", "key-file: \"b\" stands behind the value"},
      {"key-file = \"a\\n\"", "key-file: the text has an escape other than \\\" and \\\\"},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(Read("# first\nclassic = true\n" + c.line + "\n"), AtLine(3, c.why)) << c.line;
  }
  EXPECT_EQ(Read("listen = [\n\"a\",\n\"b\"\n]\nbogus = 1\n"), AtLine(5, "no option \"bogus\""));
}

}  // namespace
}  // namespace ds::daemon
