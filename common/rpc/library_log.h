#pragma once

namespace ds::rpc {

/// What gRPC and Protobuf would print on stderr by themselves becomes log lines of level debug:
/// most of it is about what peers do wrong, as often as they like. What they say before they abort
/// is critical. Any number of times.
void CatchLibraryLogs();

}  // namespace ds::rpc
