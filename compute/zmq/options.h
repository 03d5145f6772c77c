#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/net/endpoint.h"
#include "compute/core/command.h"

namespace ds::compute::zmq {

/// Where one of the broker's sockets listens.
struct BindAddress {
  std::uint16_t port = 0;                  ///< on 127.0.0.1 and [::1]; 0: any free one
  std::vector<net::Endpoint> endpoints{};  ///< or here
};

/// zmq-server. Filled by the flag parser.
struct ServerOptions {
  BindAddress client_in, client_out, worker_in, worker_out;
  std::optional<BindAddress> reliable;  ///< none: not offered
  bool echo_commands = false;
  double answer_timeout_s = 1;               ///< for a worker of the classic service
  std::size_t open_max = 10'000;             ///< requests, of each of the two services
  std::size_t message_bytes_max = 64 << 10;  ///< of a frame; who sends more is disconnected
};

/// zmq-prime, zmq-gcd.
struct WorkerOptions {
  Command::Kind kind = Command::Kind::kIsPrime;
  std::string worker_in;   ///< PORT or HOST:PORT; empty: no classic service
  std::string worker_out;  ///< the same
  std::string reliable;    ///< the same; empty: no reliable service
  unsigned capacity = 16;  ///< requests at a time in the reliable service
  double start_timeout_s = 30;

  absl::Status Validate() const;
};

/// zmq-client.
struct ClientOptions {
  std::string client_in;             ///< PORT or HOST:PORT
  std::string client_out;            ///< the same
  std::string reliable;              ///< the same; empty: the classic service
  std::vector<std::string> command;  ///< empty: commands come from standard input
  /// Classic: for a connection, a confirmation, an answer, 5 if not given. Reliable: for an answer,
  /// however often it is asked for, 10 if not given.
  std::optional<double> timeout_s{};
  bool json = false;

  absl::Status Validate() const;
};

}  // namespace ds::compute::zmq
