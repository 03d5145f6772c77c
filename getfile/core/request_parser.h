#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "getfile/core/protocol.h"

namespace ds::getfile {

/// Reads requests from a byte stream that may be split anywhere:
///
///   GETFILE GET <path> CR LF CR LF
///   GETFILE GET <path> CR LF Connection: keep-alive CR LF CR LF
///   an HTTP/1 request head
///
/// The first bytes decide between the two protocols: a method of HTTP and a blank make it HTTP, all
/// else is GETFILE. There a byte that no request can have at its place makes it invalid at once,
/// without waiting for the terminator. Keeps at most kHeaderBytesMax. A value, single threaded.
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
  /// At least one byte of a request has come. (Empty lines before an HTTP request do not count.)
  bool started() const { return step_ != Step::kSniff || !text_.empty(); }
  /// What the bytes so far were taken for.
  Protocol protocol() const { return request_.protocol; }
  /// The HTTP status code that refuses an invalid request. REQUIRES: kInvalid, kHttp.
  int http_code() const { return http_code_; }
  /// Hands over the request and begins with the next one. REQUIRES: kComplete.
  Request TakeRequest();
  /// What is known of the request so far, for an answer that refuses it.
  const Request& partial_request() const { return request_; }

 private:
  enum class Step {
    kSniff,
    kHttp,
    kPrefix,
    kPath,
    kPathLf,
    kBlankOrHeader,
    kHeader,
    kFinalLf,
    kDone,
    kInvalid
  };

  Step Next(char c);
  Step Sniff(char c);
  std::size_t FeedHttp(std::string_view bytes);

  Step step_ = Step::kSniff;
  std::size_t literal_next_ = 0;  ///< how much of the step's literal has been matched
  std::string text_;              ///< the bytes sniffed at, then the HTTP head
  std::size_t line_begin_ = 0;    ///< of the HTTP line under way, in text_
  int http_code_ = 0;
  bool after_empty_line_ = false;  ///< so it can only be HTTP
  Request request_;
};

}  // namespace ds::getfile
