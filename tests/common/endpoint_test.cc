#include "common/net/endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <string_view>

#include "common/base/parse.h"

namespace ds::net {
namespace {

using std::string_view_literals::operator""sv;
using ::testing::HasSubstr;

Endpoint Numeric(const std::string& host, std::uint16_t port) {
  const auto endpoints = Endpoint::Resolve({host, port});
  EXPECT_TRUE(endpoints.ok()) << endpoints.status();
  return endpoints.ok() ? endpoints->front() : Endpoint();
}

TEST(HostPortTest, WellFormedAddressesAreRead) {
  const struct {
    std::string_view text;
    std::string_view host;
    std::uint16_t port;
    std::string_view printed;
  } cases[] = {
      {"127.0.0.1:80", "127.0.0.1", 80, "127.0.0.1:80"},
      {"[::1]:80", "::1", 80, "[::1]:80"},
      {"[fe80::1%lo]:1", "fe80::1%lo", 1, "[fe80::1%lo]:1"},
      {"localhost:0", "localhost", 0, "localhost:0"},
      {"a-b.example:65535", "a-b.example", 65535, "a-b.example:65535"},
      {"[127.0.0.1]:80", "127.0.0.1", 80, "127.0.0.1:80"},
      {"host:0080", "host", 80, "host:80"},
  };
  for (const auto& test_case : cases) {
    const auto parsed = HostPort::Parse(test_case.text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->host, test_case.host);
    EXPECT_EQ(parsed->port, test_case.port);
    EXPECT_EQ(parsed->ToString(), test_case.printed);
  }
}

TEST(HostPortTest, MalformedAddressesAreRefusedWithTheReason) {
  const struct {
    std::string_view text;
    std::string_view why;
  } cases[] = {
      {"", "expected HOST:PORT"},
      {"80", "expected HOST:PORT"},
      {"host", "expected HOST:PORT"},
      {":80", "the host is missing"},
      {"[]:80", "the host is missing"},
      {"host:", "the port is not a number"},
      {"host:x", "the port is not a number"},
      {"host:-1", "the port is not a number"},
      {"host:+1", "the port is not a number"},
      {"host: 80", "the port is not a number"},
      {"host:80 ", "the port is not a number"},
      {"host:80\n", "the port is not a number"},
      {"host:65536", "the port is not a number"},
      {"host:99999999999999999999999", "the port is not a number"},
      {"host:8\0"sv, "the port is not a number"},
      {"::1:80", "brackets"},
      {"::1", "brackets"},
      {"a:b:80", "brackets"},
      {"[::1", "missing ]"},
      {"[", "missing ]"},
      {"[::1]", "expected [HOST]:PORT"},
      {"[::1]80", "expected [HOST]:PORT"},
      {"[::1]:", "the port is not a number"},
      {"[::1]:x", "the port is not a number"},
      {"[::1]x:80", "expected [HOST]:PORT"},
      {"ho\0st:80"sv, "NUL"},
      {"[ho\0st]:80"sv, "NUL"},
      {"*:80", "0.0.0.0 and [::] are all addresses"},
      {"[*]:80", "0.0.0.0 and [::] are all addresses"},
  };
  for (const auto& test_case : cases) {
    const auto parsed = HostPort::Parse(test_case.text);
    ASSERT_FALSE(parsed.ok()) << EscapeBytes(test_case.text);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(parsed.status()), HasSubstr(std::string(test_case.why)));
    EXPECT_THAT(Message(parsed.status()), HasSubstr(EscapeBytes(test_case.text)));
  }
}

TEST(EndpointTest, NumericHostsAreResolvedAndPrinted) {
  const Endpoint v4 = Numeric("127.0.0.1", 80);
  EXPECT_EQ(v4.family(), AF_INET);
  EXPECT_EQ(v4.length(), sizeof(sockaddr_in));
  EXPECT_EQ(v4.Host(), "127.0.0.1");
  EXPECT_EQ(v4.port(), 80);
  EXPECT_EQ(v4.ToString(), "127.0.0.1:80");

  const Endpoint v6 = Numeric("0:0:0:0:0:0:0:1", 65535);
  EXPECT_EQ(v6.family(), AF_INET6);
  EXPECT_EQ(v6.length(), sizeof(sockaddr_in6));
  EXPECT_EQ(v6.Host(), "::1");
  EXPECT_EQ(v6.port(), 65535);
  EXPECT_EQ(v6.ToString(), "[::1]:65535");
}

TEST(EndpointTest, WithPortChangesNothingElse) {
  for (const char* host : {"127.0.0.1", "::1"}) {
    const Endpoint endpoint = Numeric(host, 1);
    const Endpoint other = endpoint.WithPort(54321);
    EXPECT_EQ(other.port(), 54321);
    EXPECT_EQ(other.Host(), host);
    EXPECT_EQ(endpoint.port(), 1);
  }
}

TEST(EndpointTest, LoopbackIsRecognised) {
  for (const char* host : {"127.0.0.1", "127.255.255.254", "127.0.0.0", "::1", "::ffff:127.0.0.1",
                           "::ffff:127.9.9.9"}) {
    EXPECT_TRUE(Numeric(host, 1).IsLoopback()) << host;
  }
  for (const char* host : {"0.0.0.0", "126.255.255.255", "128.0.0.1", "10.0.0.1", "::", "::2",
                           "::ffff:10.0.0.1", "::127.0.0.1", "fe80::1"}) {
    EXPECT_FALSE(Numeric(host, 1).IsLoopback()) << host;
  }
  EXPECT_FALSE(Endpoint().IsLoopback());
}

TEST(EndpointTest, NameThatIsNoneIsAnErrorThatNamesIt) {
  // Longer than any name may be: refused without asking a resolver.
  const std::string name(300, 'x');
  const auto endpoints = Endpoint::Resolve({name, 1});
  ASSERT_FALSE(endpoints.ok());
  EXPECT_THAT(Message(endpoints.status()), HasSubstr(name));
}

TEST(EndpointTest, AStarIsNotTakenForLocalhost) { EXPECT_FALSE(Endpoint::Resolve({"*", 1}).ok()); }

}  // namespace
}  // namespace ds::net
