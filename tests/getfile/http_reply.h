#pragma once

#include <cstddef>
#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/getfile/getfile_server.h"

namespace ds::getfile {

/// One HTTP answer as a test sees it (read once more: nothing of the product is linked).
struct HttpReply {
  int code = 0;  ///< 0: there was no answer that could be read
  std::string version;
  std::vector<std::string> fields;  ///< "Name: value", in their order
  std::string body;

  /// The value of the field (its name as the server spells it), or "<none>".
  std::string Field(std::string_view name) const;
};
void PrintTo(const HttpReply& reply, std::ostream* out);

/// Reads answers from the front of `bytes` until there are no more, or until one is not whole; that
/// one has code 0 and what is left as its body. Those of the indices `bodiless` answer HEAD: they
/// have no body whatever their Content-Length says.
std::vector<HttpReply> ReadReplies(std::string_view bytes,
                                   const std::set<std::size_t>& bodiless = {});

/// Takes one answer off the front of `bytes`.
HttpReply TakeReply(std::string_view* bytes, bool bodiless);

/// Reads the single answer of curl -i. Fails the test when curl fails.
HttpReply Curl(const GetfileServer& server, std::string_view target,
               const std::vector<std::string>& more = {});

/// The command line of curl without the URL: quiet, with errors, no configuration, no proxy, and
/// the path as it stands.
std::vector<std::string> CurlFlags(const std::vector<std::string>& more);

/// "http://127.0.0.1:10880/target"
std::string Url(const GetfileServer& server, std::string_view target);

}  // namespace ds::getfile
