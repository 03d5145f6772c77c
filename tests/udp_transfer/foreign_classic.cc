#include "tests/udp_transfer/foreign_classic.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

namespace ds::testing {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kDatagramBytesMax = 65'536;

/// The pieces of `text` between separators, `most` at most; the last one has all the rest.
std::vector<std::string> Split(const std::string& text, std::size_t most) {
  std::vector<std::string> fields;
  std::size_t begin = 0;
  while (fields.size() + 1 < most) {
    const std::size_t end = text.find(" | ", begin);
    if (end == std::string::npos) break;
    fields.push_back(text.substr(begin, end - begin));
    begin = end + 3;
  }
  fields.push_back(text.substr(begin));
  return fields;
}

std::optional<std::uint64_t> Number(const std::string& text) {
  if (text.empty() || text.size() > 19) return std::nullopt;
  std::uint64_t number = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return number;
}

/// Sends `message` until its ack comes: five times at most, 0.5 s each.
std::optional<std::string> SendUntil(DatagramPeer& server, const std::string& message,
                                     const std::string& ack, bool more_follows) {
  for (int send = 0; send < 5; ++send) {
    server.Send(message);
    const auto deadline = std::chrono::steady_clock::now() + 500ms;
    while (true) {
      const auto left = deadline - std::chrono::steady_clock::now();
      if (left <= 0s) break;
      auto answer = server.Receive(left);
      if (!answer) break;
      if (more_follows ? answer->starts_with(ack + " | ") : *answer == ack) return answer;
    }
  }
  return std::nullopt;
}

}  // namespace

DatagramPeer::DatagramPeer(const std::string& host, std::uint16_t port, const std::string& from) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(sockaddr_in);
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
  } else {
    EXPECT_EQ(inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr), 1) << host;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    length = sizeof(sockaddr_in6);
  }
  socket_.Reset(socket(storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!from.empty()) {
    sockaddr_in local{};
    local.sin_family = AF_INET;
    EXPECT_EQ(inet_pton(AF_INET, from.c_str(), &local.sin_addr), 1) << from;
    EXPECT_EQ(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&local), sizeof(local)), 0)
        << from << ": " << std::strerror(errno);  // NOLINT(concurrency-mt-unsafe)
  }
  EXPECT_EQ(connect(socket_.get(), reinterpret_cast<const sockaddr*>(&storage), length), 0)
      << host << ": " << std::strerror(errno);  // NOLINT(concurrency-mt-unsafe)
}

void DatagramPeer::Send(std::string_view datagram) {
  // A refusal of what was sent before is reported here, once; then it goes out.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (send(socket_.get(), datagram.data(), datagram.size(), 0) >= 0) return;
  }
}

std::optional<std::string> DatagramPeer::Receive(Duration deadline) {
  pollfd readable{.fd = socket_.get(), .events = POLLIN, .revents = 0};
  const auto timeout = std::chrono::ceil<std::chrono::milliseconds>(deadline * kSlowdown);
  if (poll(&readable, 1, static_cast<int>(timeout.count())) != 1) return std::nullopt;
  std::string datagram(kDatagramBytesMax, '\0');
  const ssize_t size = recv(socket_.get(), datagram.data(), datagram.size(), 0);
  if (size < 0) return std::nullopt;
  datagram.resize(static_cast<std::size_t>(size));
  return datagram;
}

std::optional<std::string> DatagramPeer::Ask(std::string_view datagram, Duration deadline) {
  Send(datagram);
  return Receive(deadline);
}

bool SaysItIsThere(DatagramPeer& peer) { return peer.Ask("d | 9 | x") == "a | 1"; }

RefusingPort::RefusingPort() : socket_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  EXPECT_EQ(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
  EXPECT_EQ(getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  port_ = ntohs(address.sin_port);
  // It hears nobody but itself.
  EXPECT_EQ(connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
}

ForeignResult SendAsForeignClient(DatagramPeer& server, const ForeignSend& send) {
  ForeignResult result;
  std::uint64_t seqno = send.seqno0;
  const std::string start = "s | " + std::to_string(seqno) + " | " + send.name + " | " +
                            std::to_string(send.content.size());
  ++seqno;
  const auto start_ack = SendUntil(server, start, "a | " + std::to_string(seqno), true);
  const auto buf_bytes = start_ack ? Number(Split(*start_ack, 3)[2]) : std::nullopt;
  if (!buf_bytes) {
    result.error = "the start message was not acknowledged";
    return result;
  }
  result.buf_bytes = *buf_bytes;
  result.messages = 1;
  std::size_t sent = 0;
  bool empty_data = send.content.empty() && send.empty_data_for_empty_file;
  while (sent < send.content.size() || empty_data) {
    empty_data = false;
    std::string data = "d | " + std::to_string(seqno) + " | ";
    const std::string payload = send.content.substr(sent, *buf_bytes - data.size());
    data += payload;
    ++seqno;
    if (!SendUntil(server, data, "a | " + std::to_string(seqno), false)) {
      result.error = "data message " + std::to_string(seqno - 1) + " was not acknowledged";
      return result;
    }
    sent += payload.size();
    ++result.messages;
  }
  result.done = true;
  return result;
}

ForeignClassicServer::ForeignClassicServer(const Options& options)
    : options_(options),
      socket_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
      stop_(eventfd(0, EFD_CLOEXEC)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  EXPECT_EQ(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
  EXPECT_EQ(getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::jthread([this] { Serve(); });
}

ForeignClassicServer::~ForeignClassicServer() { EXPECT_EQ(eventfd_write(stop_.get(), 1), 0); }

std::optional<std::string> ForeignClassicServer::File(const std::string& name) const {
  const std::scoped_lock lock(mutex_);
  const auto found = files_.find(name);
  return found == files_.end() ? std::nullopt : std::optional(found->second);
}

std::size_t ForeignClassicServer::Seen(std::string_view prefix) const {
  const std::scoped_lock lock(mutex_);
  return static_cast<std::size_t>(std::ranges::count_if(
      seen_, [&](const std::string& datagram) { return datagram.starts_with(prefix); }));
}

bool ForeignClassicServer::dead() const {
  const std::scoped_lock lock(mutex_);
  return dead_;
}

void ForeignClassicServer::Serve() {
  std::string buffer(kDatagramBytesMax, '\0');
  std::string last_unacknowledged;
  while (true) {
    std::array<pollfd, 2> events{pollfd{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                                 pollfd{.fd = stop_.get(), .events = POLLIN, .revents = 0}};
    if (poll(events.data(), events.size(), -1) < 0 || events[1].revents != 0) return;
    sockaddr_in address{};
    socklen_t length = sizeof(address);
    const ssize_t size = recvfrom(socket_.get(), buffer.data(), buffer.size(), 0,
                                  reinterpret_cast<sockaddr*>(&address), &length);
    if (size < 0) continue;
    const std::string datagram = buffer.substr(0, static_cast<std::size_t>(size));
    const bool ascii = std::ranges::none_of(datagram, [](char c) { return (c & 0x80) != 0; });
    {
      const std::scoped_lock lock(mutex_);
      seen_.push_back(datagram);
      if (!ascii && options_.dies_of_other_bytes) {
        dead_ = true;
        socket_.Reset();  // from here on the kernel refuses
        return;
      }
    }
    const std::string from(reinterpret_cast<const char*>(&address), sizeof(address));
    const std::string answer = Answer(from, datagram);
    if (answer.empty()) continue;
    if (options_.loses_first_acks && datagram != last_unacknowledged) {
      last_unacknowledged = datagram;
      continue;
    }
    sendto(socket_.get(), answer.data(), answer.size(), 0,
           reinterpret_cast<const sockaddr*>(&address), length);
  }
}

std::string ForeignClassicServer::Answer(const std::string& from, const std::string& datagram) {
  const std::string type = Split(datagram, 2)[0];
  if (type == "s") return AnswerStart(from, datagram);
  if (type != "d" && !options_.takes_unknown_types_for_data) return "";
  const auto session = sessions_.find(from);
  return session == sessions_.end() ? "" : AnswerData(session->second, datagram);
}

std::string ForeignClassicServer::AnswerStart(const std::string& from,
                                              const std::string& datagram) {
  const auto fields = Split(datagram, 5);
  if (fields.size() < 4 || (fields.size() > 4 && options_.silent_on_extra_fields)) return "";
  const auto seqno0 = Number(fields[1]);
  const auto total_bytes = Number(fields[3]);
  if (!seqno0 || !total_bytes) return "";
  Session& session = sessions_[from];
  if (session.start != datagram) {
    session = {.start = datagram,
               .name = fields[2],
               .seqno0 = *seqno0,
               .next_seqno = *seqno0 + 1,
               .total_bytes = *total_bytes,
               .content = ""};
    if (*total_bytes == 0) {
      const std::scoped_lock lock(mutex_);
      files_[session.name] = "";
    }
  }
  return "a | " + std::to_string(*seqno0 + 1) + " | " + std::to_string(options_.buf_bytes);
}

std::string ForeignClassicServer::AnswerData(Session& session, const std::string& datagram) {
  const auto fields = Split(datagram, 3);
  const auto seqno = fields.size() == 3 ? Number(fields[1]) : std::nullopt;
  if (!seqno || datagram.size() > options_.buf_bytes + (fields[0] == "d" ? 0 : 65'536)) return "";
  if (*seqno > session.next_seqno && options_.takes_future_data) {
    return "a | " + std::to_string(*seqno + 1);
  }
  if (*seqno == session.next_seqno &&
      fields[2].size() <= session.total_bytes - session.content.size()) {
    session.content += fields[2];
    ++session.next_seqno;
    if (session.content.size() == session.total_bytes) {
      const std::scoped_lock lock(mutex_);
      files_[session.name] = session.content;
    }
  }
  return "a | " + std::to_string(session.next_seqno);
}

}  // namespace ds::testing
