#include "raft/core/message.h"

#include <fmt/format.h>

namespace ds::raft {
namespace {

std::string At(LogPosition position) { return fmt::format("{}@{}", position.index, position.term); }

std::string Body(const VoteRequest& request) {
  return fmt::format("last {}{}", At(request.last), request.transfer ? " transfer" : "");
}
std::string Body(const VoteResponse& response) { return response.granted ? "granted" : "refused"; }
std::string Body(const AppendRequest& request) {
  std::uint64_t bytes = 0;
  for (const EntryPtr& entry : request.entries) bytes += entry == nullptr ? 0 : entry->data.size();
  return fmt::format("previous {} entries {} bytes {} committed {} round {}", At(request.previous),
                     request.entries.size(), bytes, request.committed, request.round);
}
std::string Body(const AppendResponse& response) {
  return fmt::format("{} match {} round {}{}", response.accepted ? "accepted" : "refused",
                     At(response.match), response.round, response.honours_lease ? " lease" : "");
}
std::string Body(const SnapshotPart& part) {
  return fmt::format("last {} bytes {} offset {} length {} data {} round {}", At(part.meta.last),
                     part.meta.bytes, part.offset, part.length, part.data.size(), part.round);
}
std::string Body(const SnapshotPartResponse& response) {
  return fmt::format("last {} next {}{} round {}{}", At(response.last), response.next_offset,
                     response.installed ? " installed" : "", response.round,
                     response.honours_lease ? " lease" : "");
}
std::string Body(const TimeoutNow& /*body*/) { return ""; }
std::string Body(const ReadRequest& request) { return fmt::format("batch {}", request.batch); }
std::string Body(const ReadResponse& response) {
  return fmt::format("batch {} {}", response.batch,
                     response.index ? fmt::format("index {}", *response.index) : "failed");
}

std::string_view Kind(const VoteRequest& body) {
  return body.pre ? "PreVoteRequest" : "VoteRequest";
}
std::string_view Kind(const VoteResponse& body) {
  return body.pre ? "PreVoteResponse" : "VoteResponse";
}
std::string_view Kind(const AppendRequest& body) {
  return body.entries.empty() ? "Heartbeat" : "AppendRequest";
}
std::string_view Kind(const AppendResponse& /*body*/) { return "AppendResponse"; }
std::string_view Kind(const SnapshotPart& /*body*/) { return "SnapshotPart"; }
std::string_view Kind(const SnapshotPartResponse& /*body*/) { return "SnapshotPartResponse"; }
std::string_view Kind(const TimeoutNow& /*body*/) { return "TimeoutNow"; }
std::string_view Kind(const ReadRequest& /*body*/) { return "ReadRequest"; }
std::string_view Kind(const ReadResponse& /*body*/) { return "ReadResponse"; }

}  // namespace

std::string ToString(const Message& message) {
  return std::visit(
      [&](const auto& body) {
        const std::string text = Body(body);
        return fmt::format("{} term {}{}{}", Kind(body), message.term, text.empty() ? "" : " ",
                           text);
      },
      message.body);
}

}  // namespace ds::raft
