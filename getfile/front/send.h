#pragma once

#include <cstdint>
#include <string_view>

#include "getfile/front/content_source.h"

// How bodies give their bytes to a socket, wherever these lie. No state; any thread. `hold` as in
// Body::Send().

namespace ds::getfile {

/// Sends `head` and `bytes` from memory in one system call; they are copied. One of the two may be
/// empty. Outcomes: kSent, kSocketFull, kPeerGone.
Body::Sent SendFromMemory(int socket, std::string_view head, std::string_view bytes, bool hold);

/// Sends `head` and `bytes` bytes that stand in `file` from `position` on, those by reference
/// (sendfile(2)): what changes there later may still change what the peer gets. `file`'s own
/// position is neither used nor moved. kSourceBroken: the file ends before, or cannot be read.
/// REQUIRES: bytes > 0.
Body::Sent SendFromFile(int socket, std::string_view head, int file, std::uint64_t position,
                        std::uint64_t bytes, bool hold);

/// Sends what `hold` has held back. For a TCP socket; nothing happens if there is nothing.
void SendHeld(int socket);

}  // namespace ds::getfile
