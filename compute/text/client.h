#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/channel.h"

namespace ds::compute {

struct TextClientOptions {
  std::string server;     ///< HOST:PORT
  double timeout_s = 10;  ///< of one call
  rpc::ChannelOptions channel{};
  int interrupt_fd = -1;  ///< once readable, calls end with kCancelled

  absl::Status Validate() const;
};

/// Calls ds.compute.v1.Text. All its methods can be repeated without harm, so a call that fails
/// because a server that was there has gone is made again, until two seconds are over.
/// Not thread-safe.
class TextClient {
 public:
  /// kInvalidArgument: options or files cannot be used.
  static absl::StatusOr<std::unique_ptr<TextClient>> Create(const TextClientOptions& options);
  ~TextClient();

  /// Connects, within the timeout. kUnavailable: why that failed.
  absl::Status Connect();

  absl::StatusOr<std::string> Reverse(const std::string& text);
  absl::StatusOr<std::vector<std::string>> Split(const std::string& text,
                                                 const std::string& delimiter);

  struct Answer {
    std::string number;  ///< as people write it, empty beside an error
    bool prime = false;
    std::string error{};
  };
  /// Sends the numbers one after the other, each when the answer before has come, and tells
  /// `answered` of each, in order, once.
  absl::Status IsPrime(const std::vector<std::string>& numbers,
                       const std::function<void(const Answer&)>& answered);

 private:
  class Impl;
  explicit TextClient(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ds::compute
