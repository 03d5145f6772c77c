#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace ds::getfile {

/// The two spellings of an answer. Requests are the same in both.
enum class Dialect {
  kStandard,  ///< "GETFILE OK <length>" CR LF CR LF; "GETFILE <STATUS>" CR LF CR LF
  kLegacy,    ///< "GETFILE OK <length> "; "GETFILE <STATUS> 0" LF
};
/// As options spell them.
inline constexpr std::pair<const char*, Dialect> kDialectNames[] = {
    {"standard", Dialect::kStandard}, {"legacy", Dialect::kLegacy}};

enum class AnswerStatus {
  kOk,
  kFileNotFound,  ///< well-formed, and nothing to serve there
  kError,         ///< it is there and could not be opened or read
  kInvalid,       ///< malformed or incomplete request
};
inline constexpr std::size_t kAnswerStatusCount = 4;

/// "OK", "FILE_NOT_FOUND", "ERROR", "INVALID".
const char* Name(AnswerStatus status);

/// Limits of the protocol, not options: both ends rely on them.
inline constexpr std::size_t kPathBytesMax = 4096;
inline constexpr std::size_t kHeaderBytesMax = 8192;  ///< of an HTTP head

enum class Protocol { kGetfile, kHttp };
inline constexpr std::pair<const char*, Protocol> kProtocolNames[] = {
    {"getfile", Protocol::kGetfile}, {"http", Protocol::kHttp}};

/// What an HTTP request asks beside the path; empty: not asked.
struct Conditions {
  std::string range;
  std::string if_range;
  std::string if_match;
  std::string if_none_match;
  std::optional<std::int64_t> if_modified_since;  ///< seconds since 1970
  std::optional<std::int64_t> if_unmodified_since;
};

/// A well-formed request. Paths are bytes and begin with '/'. By GETFILE they have no blank and no
/// control byte in them; by HTTP they are percent-decoded and may have any byte but NUL.
struct Request {
  Protocol protocol = Protocol::kGetfile;
  std::string path;
  bool keep_alive = false;  ///< the connection may carry another request after the answer
  // HTTP only:
  bool head = false;      ///< HEAD: the answer without its body
  bool http_1_0 = false;  ///< the client is of HTTP/1.0
  std::string query;      ///< with its question mark; plays no part in the lookup
  Conditions conditions;
};

/// Whether `path` may stand in a request: what the parser would accept.
bool IsRequestPath(std::string_view path);

/// The bytes of a request. REQUIRES: IsRequestPath(path).
std::string FormatRequest(std::string_view path, bool keep_alive);

/// The bytes of an answer in front of the body. `length` counts for kOk only.
std::string FormatAnswer(Dialect dialect, AnswerStatus status, std::uint64_t length);

}  // namespace ds::getfile
