#include <gtest/gtest.h>

#include "tests/harness/certificates.h"
#include "tests/harness/own_network.h"
#include "tests/rpc/peer_server.h"

// Peers that are not on the machine of the server.

namespace ds::rpc {
namespace {

using testing::NetworkOfItsOwn;

[[maybe_unused]] const auto* const kNetwork =
    ::testing::AddGlobalTestEnvironment(new NetworkOfItsOwn);

class OffLoopbackTest : public PeersTest {
 protected:
  OffLoopbackTest()
      : server_(ca_.Issue("server", NetworkOfItsOwn::kHost)), client_(ca_.Issue("client")) {}

  TlsOptions ServerTls() const { return {server_.cert, server_.key, ca_.file()}; }
  /// With a certificate that the server takes.
  TlsOptions ClientTls() const { return {client_.cert, client_.key, ca_.file()}; }

 private:
  testing::CertificateAuthority ca_{"ca"};
  const testing::CertificateFiles server_;
  const testing::CertificateFiles client_;
};

TEST_F(OffLoopbackTest, WithoutAKeyPeersAreRefusedAndCounted) {
  PeerServer server(With("one", ""), 0, NetworkOfItsOwn::kHost);
  EXPECT_TRUE(Denied(Call(server, With("one", ""))));
  EXPECT_TRUE(server.Denied("off_loopback", 1));
  EXPECT_TRUE(Denied(Call(server, With("one", "key"))));
  EXPECT_TRUE(server.Denied("no_proof", 1));
  EXPECT_EQ(server.calls, 0);
}

TEST_F(OffLoopbackTest, ACertificateOfTheCaMakesNoPeer) {
  PeerServer server(With("one", ""), 0, NetworkOfItsOwn::kHost, ServerTls());
  EXPECT_TRUE(Denied(Call(server, With("one", ""), ClientTls())));
  EXPECT_TRUE(server.Denied("off_loopback", 1));
  EXPECT_EQ(server.calls, 0);
}

TEST_F(OffLoopbackTest, PeersWithTheKeyAreAdmittedWithTlsAndWithout) {
  PeerServer plain(With("one", "key"), 0, NetworkOfItsOwn::kHost);
  EXPECT_TRUE(Call(plain, With("one", "key")).ok());
  EXPECT_EQ(plain.calls, 1);
  PeerServer sealed(With("one", "key"), 0, NetworkOfItsOwn::kHost, ServerTls());
  EXPECT_TRUE(Call(sealed, With("one", "key"), ClientTls()).ok());
  EXPECT_TRUE(Denied(Call(sealed, With("one", ""), ClientTls())));
  EXPECT_TRUE(sealed.Denied("no_tag", 1));
  EXPECT_EQ(sealed.calls, 1);
}

TEST_F(OffLoopbackTest, ByLoopbackPeersNeedNoKeyThere) {
  PeerServer server(With("one", ""), 0, "", ServerTls());
  EXPECT_TRUE(Call(server, With("one", ""), ClientTls()).ok());
  EXPECT_EQ(server.calls, 1);
}

}  // namespace
}  // namespace ds::rpc
