#include "common/rpc/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/check.h"
#include "tests/harness/certificates.h"
#include "tests/rpc/echo_server.h"

namespace ds::rpc {
namespace {

using ::testing::HasSubstr;

/// Made once: keys take their time.
struct Authorities {
  testing::CertificateAuthority ours{"ours"};
  testing::CertificateAuthority theirs{"theirs"};
  testing::CertificateFiles server = ours.Issue("server");
  testing::CertificateFiles client = ours.Issue("client");
  testing::CertificateFiles stranger = theirs.Issue("stranger");
};

class RpcTlsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { made_ = std::make_unique<Authorities>(); }
  static void TearDownTestSuite() { made_.reset(); }
  static Authorities& made() { return *made_; }

  static absl::Status Call(const EchoServer& server, const TlsOptions& client) {
    return EchoClient(server.address(), {.tls = client}).Echo("x").status();
  }
  static bool Refused(const absl::Status& status) {
    return status.code() == absl::StatusCode::kUnavailable;
  }

 private:
  static inline std::unique_ptr<Authorities> made_;
};

TEST_F(RpcTlsTest, AClientThatTrustsTheCaIsServedAndNobodyWithoutTls) {
  EchoServer server({.tls = {.cert_file = made().server.cert, .key_file = made().server.key}});
  EXPECT_TRUE(Call(server, {.ca_file = made().ours.file()}).ok());
  EXPECT_TRUE(
      EchoClient("[::1]:" + std::to_string(server.port()), {.tls = {.ca_file = made().ours.file()}})
          .Echo("x")
          .ok());
  EXPECT_TRUE(Refused(Call(server, {.ca_file = made().theirs.file()})));
  EXPECT_TRUE(Refused(Call(server, {})));
}

TEST_F(RpcTlsTest, AServerOfAnotherNameIsNotTrusted) {
  EchoServer server({.tls = {.cert_file = made().server.cert, .key_file = made().server.key}});
  // The certificate is for 127.0.0.1; this address leads to the same machine, not to this server.
  const auto endpoints = net::Endpoint::Resolve({"127.0.0.2", 0});
  auto listener = net::ListenTcp(endpoints->front());
  ASSERT_TRUE(listener.ok());
  const std::string address = listener->local.ToString();
  std::vector<net::Listener> listeners;
  listeners.push_back(std::move(*listener));
  EchoService service;
  const auto other =
      Server::Start({.tls = {.cert_file = made().server.cert, .key_file = made().server.key}},
                    std::move(listeners), {&service}, nullptr);
  ASSERT_TRUE(other.ok());
  EXPECT_TRUE(
      Refused(EchoClient(address, {.tls = {.ca_file = made().ours.file()}}).Echo("x").status()));
}

TEST_F(RpcTlsTest, WithACaClientsMustShowACertificateOfIt) {
  EchoServer server({.tls = {.cert_file = made().server.cert,
                             .key_file = made().server.key,
                             .ca_file = made().ours.file()}});
  const std::string ca = made().ours.file();
  EXPECT_TRUE(Call(server, {made().client.cert, made().client.key, ca}).ok());
  EXPECT_TRUE(Refused(Call(server, {.ca_file = ca})));
  EXPECT_TRUE(Refused(Call(server, {made().stranger.cert, made().stranger.key, ca})));
  EXPECT_TRUE(Refused(Call(server, {})));
}

TEST_F(RpcTlsTest, AServerWithoutTlsIsNotTakenForOneWithIt) {
  EchoServer server;
  EXPECT_TRUE(Refused(Call(server, {.ca_file = made().ours.file()})));
}

TEST_F(RpcTlsTest, FilesThatCannotBeUsedAreRefusedByTheNameOfTheirOption) {
  const testing::TempDir folder;
  const std::string empty = folder.Write("empty.pem", "");
  const std::string garbage = folder.Write("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
  const std::string large = folder.Write("large.pem", std::string(2U << 20U, 'x'));
  const std::string cert = made().server.cert;
  const std::string key = made().server.key;
  const std::string ca = made().ours.file();
  struct Case {
    TlsOptions options;
    const char* named;
  };
  const std::vector<Case> cases = {
      {{cert, "", ""}, "--tls-cert, --tls-key"},
      {{"", key, ""}, "--tls-cert, --tls-key"},
      {{"", "", ca}, "--tls-ca: needs"},
      {{folder.path("none"), key, ""}, "--tls-cert"},
      {{empty, key, ""}, "--tls-cert"},
      {{garbage, key, ""}, "--tls-cert"},
      {{large, key, ""}, "--tls-cert"},
      {{cert, folder.path("none"), ""}, "--tls-key"},
      {{cert, empty, ""}, "--tls-key"},
      {{cert, cert, ""}, "--tls-key"},
      {{cert, made().client.key, ""}, "not the key of --tls-cert"},
      {{cert, key, empty}, "--tls-ca"},
      {{cert, key, garbage}, "--tls-ca"},
      {{cert, key, key}, "--tls-ca"},
  };
  for (const auto& [options, named] : cases) {
    const auto files = ReadTlsFiles(options, TlsEnd::kServer);
    EXPECT_EQ(files.status().code(), absl::StatusCode::kInvalidArgument) << named;
    EXPECT_THAT(Message(files.status()), HasSubstr(named));
  }
  EXPECT_TRUE(ReadTlsFiles({cert, key, ca}, TlsEnd::kServer).ok());
  EXPECT_TRUE(ReadTlsFiles({"", "", ca}, TlsEnd::kClient).ok());
  EXPECT_TRUE(ReadTlsFiles({}, TlsEnd::kServer).ok());
}

}  // namespace
}  // namespace ds::rpc
