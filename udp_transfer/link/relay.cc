#include "udp_transfer/link/relay.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

constexpr int kBatchPackets = 64;
constexpr int kPriority = -10;  // nice: before the programs whose packets it carries
constexpr unsigned long kTimerSlackNs = 20'000;  // wakes up for so many packets at once

TimePoint Now() { return std::chrono::steady_clock::now(); }

void GrowTo(Counter* counter, std::uint64_t value) {
  if (value > counter->Get()) counter->Add(value - counter->Get());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Relay>> Relay::Start(int from_fd, int to_fd, std::size_t mtu,
                                                    const LinkOptions& options,
                                                    std::uint64_t seed) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll || !stop) return ErrnoError("create a relay", errno);
  for (const int fd : {from_fd, stop.get()}) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return ErrnoError("watch the link's device", errno);
    }
  }
  std::unique_ptr<Relay> relay(
      new Relay(from_fd, to_fd, mtu, options, seed, std::move(epoll), std::move(stop)));
  relay->thread_ = std::jthread([&relay = *relay] { relay.Run(); });
  return relay;
}

Relay::Relay(int from_fd, int to_fd, std::size_t mtu, const LinkOptions& options,
             std::uint64_t seed, UniqueFd epoll, UniqueFd stop)
    : from_fd_(from_fd),
      to_fd_(to_fd),
      mtu_(mtu),
      model_(options, seed),
      epoll_(std::move(epoll)),
      stop_(std::move(stop)) {}

Relay::~Relay() {
  const std::uint64_t one = 1;
  CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
}

std::optional<Relay::Buffer> Relay::TakeBuffer() {
  if (free_.empty()) {
    if ((buffers_.size() + 1) * mtu_ > kHeldBytesMax) return std::nullopt;
    buffers_.push_back(std::make_unique<std::byte[]>(mtu_));
    free_.push_back(static_cast<Buffer>(buffers_.size() - 1));
  }
  const Buffer buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void Relay::Write(const std::byte* packet, std::size_t bytes) {
  if (::write(to_fd_, packet, bytes) == static_cast<ssize_t>(bytes)) {
    counters_.delivered.Add();
    counters_.delivered_bytes.Add(bytes);
  } else {
    counters_.refused.Add();  // corrupted, so that it has no known version
  }
}

void Relay::Pass(Buffer buffer, std::size_t bytes, TimePoint now) {
  counters_.packets.Add();
  counters_.bytes.Add(bytes);
  const LinkModel::Passage passage = model_.Send(now, bytes);
  GrowTo(&counters_.queue_bytes_max, passage.queued_bytes_now);
  if (passage.fate == LinkModel::Passage::Fate::kQueueFull) counters_.queue_dropped.Add();
  if (passage.fate == LinkModel::Passage::Fate::kLost) counters_.lost.Add();
  if (passage.count == 2) counters_.duplicated.Add();
  if (passage.reordered) counters_.reordered.Add();
  if (passage.count == 0) free_.push_back(buffer);
  for (std::size_t i = 0; i < passage.count; ++i) {
    // The last copy takes the packet itself.
    Buffer copy = buffer;
    if (i + 1 < passage.count) {
      const auto taken = TakeBuffer();
      if (!taken) {
        counters_.overflowed.Add();
        continue;
      }
      copy = *taken;
      std::memcpy(At(copy), At(buffer), bytes);
    }
    if (const auto bit = passage.copies[i].flipped_bit) {
      At(copy)[*bit / 8] ^= std::byte(1U << (*bit % 8));
      counters_.corrupted.Add();
    }
    held_.push({passage.copies[i].time, next_number_++, copy, static_cast<std::uint32_t>(bytes)});
  }
}

bool Relay::ReadBatch() {
  const TimePoint now = Now();
  for (int i = 0; i < kBatchPackets; ++i) {
    const auto buffer = TakeBuffer();
    std::byte overflow{};
    const ssize_t bytes = ::read(from_fd_, buffer ? At(*buffer) : &overflow, buffer ? mtu_ : 1);
    if (bytes <= 0) {
      if (errno != EAGAIN && errno != EINTR) stopped_ = true;  // somebody deleted the device
      if (buffer) free_.push_back(*buffer);
      return false;
    }
    if (buffer) {
      Pass(*buffer, static_cast<std::size_t>(bytes), now);
    } else {
      counters_.packets.Add();
      counters_.overflowed.Add();
    }
  }
  return true;
}

void Relay::DeliverDue() {
  if (held_.empty()) return;
  const TimePoint now = Now();
  while (!held_.empty() && held_.top().due <= now) {
    const Held packet = held_.top();
    held_.pop();
    const auto late = std::chrono::duration_cast<std::chrono::microseconds>(now - packet.due);
    counters_.late_us.Add(static_cast<std::uint64_t>(late.count()));
    GrowTo(&counters_.late_us_max, static_cast<std::uint64_t>(late.count()));
    Write(At(packet.buffer), packet.bytes);
    free_.push_back(packet.buffer);
  }
}

void Relay::Wait(bool only_look) {
  timespec timeout{};
  if (!only_look && !held_.empty()) {
    const auto ns = std::max(held_.top().due - Now(), Duration::zero()).count();
    timeout.tv_sec = ns / 1'000'000'000;
    timeout.tv_nsec = ns % 1'000'000'000;
  }
  epoll_event events[2];
  const bool for_ever = !only_look && held_.empty();
  const int count = ::epoll_pwait2(epoll_.get(), events, 2, for_ever ? nullptr : &timeout, nullptr);
  CHECK(count >= 0 || errno == EINTR, "epoll_pwait2");
  for (int i = 0; i < count; ++i) stopped_ = stopped_ || events[i].data.fd == stop_.get();
}

void Relay::Run() {
  ::prctl(PR_SET_NAME, "relay");
  ::prctl(PR_SET_TIMERSLACK, kTimerSlackNs);
  ::setpriority(PRIO_PROCESS, 0, kPriority);  // where it is allowed
  while (!stopped_) {
    const bool more = ReadBatch();
    DeliverDue();
    Wait(/*only_look=*/more);
  }
}

}  // namespace ds::udp_transfer
