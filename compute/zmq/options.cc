#include "compute/zmq/options.h"

#include "compute/zmq/socket.h"

namespace ds::compute::zmq {
namespace {

absl::Status CheckAddresses(const std::string& in, const std::string& out,
                            const std::string& reliable) {
  if (in.empty() != out.empty()) return InvalidArgument("addresses: two of them belong together");
  if (in.empty() && reliable.empty()) {
    return InvalidArgument("addresses: none given (see --help)");
  }
  for (const std::string& address : {in, out, reliable}) {
    if (!address.empty()) RETURN_IF_ERROR(ParseAddress(address).status());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WorkerOptions::Validate() const {
  return CheckAddresses(worker_in, worker_out, reliable);
}

absl::Status ClientOptions::Validate() const {
  return CheckAddresses(client_in, client_out, reliable);
}

}  // namespace ds::compute::zmq
