#pragma once

#include <cstddef>
#include <string_view>

#include "getfile/core/protocol.h"

namespace ds::getfile {

/// Reads requests from a byte stream that may be split anywhere:
///
///   GETFILE GET <path> CR LF CR LF
///   GETFILE GET <path> CR LF Connection: keep-alive CR LF CR LF
///
/// A byte that no request can have at its place makes it invalid at once, without waiting for the
/// terminator. Keeps at most the path. A value, single threaded.
class RequestParser {
 public:
  enum class State {
    kIncomplete,  ///< feed more
    kComplete,    ///< TakeRequest()
    kInvalid,     ///< for good
  };

  /// Consumes bytes up to the end of one request, or up to the first wrong byte; returns how many.
  std::size_t Feed(std::string_view bytes);

  State state() const;
  /// At least one byte of a request has come.
  bool started() const { return step_ != Step::kPrefix || literal_next_ != 0; }
  /// Hands over the request and begins with the next one. REQUIRES: kComplete.
  Request TakeRequest();

 private:
  enum class Step { kPrefix, kPath, kPathLf, kBlankOrHeader, kHeader, kFinalLf, kDone, kInvalid };

  Step Next(char c);

  Step step_ = Step::kPrefix;
  std::size_t literal_next_ = 0;  ///< how much of the step's literal has been matched
  Request request_;
};

}  // namespace ds::getfile
