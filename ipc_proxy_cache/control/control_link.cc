#include "ipc_proxy_cache/control/control_link.h"

#include <poll.h>

#include <chrono>
#include <utility>
#include <variant>

#include "common/net/socket.h"
#include "common/shm/seqpacket.h"
#include "ipc_proxy_cache/link/socket_path.h"

namespace ds::ipc_proxy_cache {
namespace {

/// For one answer; a purge by prefix looks at every object.
constexpr auto kPatience = std::chrono::seconds(5);

}  // namespace

absl::StatusOr<ControlLink> ControlLink::Connect(std::span<const std::string> paths,
                                                 std::span<const uid_t> trusted_uids,
                                                 int cancel_fd) {
  ASSIGN_OR_RETURN(ConnectedLink connected, ConnectToCache(paths, trusted_uids));
  ControlLink link(std::move(connected.socket), std::move(connected.path), cancel_fd);
  RETURN_IF_ERROR(link.Ask<Welcome>(Hello{.control = true, .name = "getfile-cachectl"}).status());
  return link;
}

template <typename Answer>
absl::StatusOr<Answer> ControlLink::Ask(const Message& question) {
  const auto failed = [&](const absl::Status& why) {
    return Error(why.code(), "ask the cache at " + path_ + ": " + ds::Message(why));
  };
  const std::vector<std::byte> packet = EncodeMessage(question);
  for (;;) {
    const auto sent = shm::SendPacket(socket_.get(), packet);
    if (!sent.ok()) return failed(sent.status());
    if (*sent == shm::SendResult::kSent) break;
    if (const absl::Status ready = net::WaitFor(socket_.get(), POLLOUT, kPatience, cancel_fd_);
        !ready.ok()) {
      return failed(ready);
    }
  }
  std::vector<std::byte> buffer(kMessageBytesMax);
  for (;;) {
    if (const absl::Status ready = net::WaitFor(socket_.get(), POLLIN, kPatience, cancel_fd_);
        !ready.ok()) {
      return failed(ready);
    }
    const auto received = shm::ReceivePacket(socket_.get(), buffer, 1);
    if (!received.ok()) return failed(received.status());
    if (received->kind == shm::Received::Kind::kNothing) continue;
    if (received->kind == shm::Received::Kind::kEnd) {
      return failed(
          Unavailable("it has ended the link (are we one of its users, and of its release?)"));
    }
    auto message = DecodeMessage(std::span(buffer).first(received->bytes), Sender::kCache);
    // The cache's fault, not that of our command line.
    if (!message.ok()) return failed(Unavailable(ds::Message(message.status())));
    if (auto* const answer = std::get_if<Answer>(&*message)) return std::move(*answer);
  }
}

absl::StatusOr<Report> ControlLink::AskStatus() {
  ASSIGN_OR_RETURN(Report report, Ask<Report>(Status{.request = ++last_request_}));
  while (report.more && !report.links.empty()) {
    ASSIGN_OR_RETURN(
        const Report next,
        Ask<Report>(Status{.request = ++last_request_, .after_link = report.links.back().link}));
    report.more = next.more && !next.links.empty();
    report.links.insert(report.links.end(), next.links.begin(), next.links.end());
  }
  return report;
}

absl::StatusOr<std::uint64_t> ControlLink::RequestPurge(const std::string& key, bool prefix,
                                                        bool soft) {
  if (key.empty() || key.size() > kKeyBytesMax) {
    return InvalidArgument("purge: a path has 1 to " + std::to_string(kKeyBytesMax) + " bytes");
  }
  ASSIGN_OR_RETURN(
      const Purged purged,
      Ask<Purged>(Purge{.request = ++last_request_, .soft = soft, .prefix = prefix, .key = key}));
  return purged.objects;
}

}  // namespace ds::ipc_proxy_cache
