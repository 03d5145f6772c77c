#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "common/rpc/cluster_session.h"

namespace rpc = ds::rpc;

/// Whatever a peer without the key sends, it gets no session and makes no call.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  rpc::ServerSessions sessions("one", "a key of sixteen", rpc::Tag{});
  if (const auto call = rpc::CallTag::Decode(bytes)) {
    CHECK(call->Encode() == bytes);
    CHECK(sessions.Check(*call, "/a.B/C", ds::TimePoint()) ==
          rpc::ServerSessions::Verdict::kUnknownSession);
  }
  const auto nonce = rpc::ToArray<32>(bytes.substr(0, 32));
  if (!nonce || bytes.size() != 32 + 48 + 32) return 0;
  const auto server_nonce = rpc::ToArray<48>(bytes.substr(32, 48));
  const auto proof = rpc::ToArray<32>(bytes.substr(80));
  CHECK(!sessions.Prove(*nonce, *server_nonce, *proof, ds::TimePoint()));
  CHECK(sessions.size() == 0);
  return 0;
}
