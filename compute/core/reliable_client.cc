#include "compute/core/reliable_client.h"

#include <fmt/format.h>

#include <variant>

#include "common/base/check.h"

namespace ds::compute {
namespace {

constexpr std::size_t kNonceBytes = 8;

}  // namespace

ReliableClient::ReliableClient(const Options& options, std::string_view nonce, TimePoint now)
    : options_(options), nonce_(nonce), heard_(now) {
  CHECK(nonce.size() == kNonceBytes);
  output_.reconnect = true;
}

absl::StatusOr<std::uint64_t> ReliableClient::Ask(std::string_view service, std::string_view body,
                                                  TimePoint now) {
  if (service.empty() || service.size() > kServiceBytesMax) {
    return InvalidArgument(
        fmt::format("ask: the name of a service has 1 to {} bytes", kServiceBytesMax));
  }
  if (body.size() > kBodyBytesMax) {
    return InvalidArgument(fmt::format("ask: a request has at most {} bytes", kBodyBytesMax));
  }
  if (requests_.size() >= options_.open_max) {
    return Error(absl::StatusCode::kResourceExhausted,
                 fmt::format("ask: {} requests are open", requests_.size()));
  }
  const std::uint64_t number = next_number_++;
  std::string id = nonce_;
  for (int shift = 56; shift >= 0; shift -= 8) id.push_back(static_cast<char>(number >> shift));
  // What was silent while nothing was asked is not silent because of that.
  if (requests_.empty()) heard_ = now;
  number_of_id_.emplace(id, number);
  Request& request =
      requests_
          .emplace(number, Request{{std::move(id), std::string(service), std::string(body)},
                                   now + options_.request_time,
                                   {}})
          .first->second;
  Send(number, request, now);
  return number;
}

void ReliableClient::HandleFrames(const Frames& frames, TimePoint now) {
  auto message = DecodeReliable(frames);
  if (!message.ok()) return;
  heard_ = now;
  other_version_ |= std::holds_alternative<VersionMessage>(*message);
  auto* const answer = std::get_if<AnswerMessage>(&*message);
  if (answer == nullptr) return;
  const auto number = number_of_id_.find(answer->id);
  if (number == number_of_id_.end()) return;  // a second answer
  End(requests_.find(number->second), answer->status, std::move(answer->body));
}

std::optional<TimePoint> ReliableClient::NextDeadline() const {
  if (due_.empty()) return std::nullopt;
  return due_.begin()->first;
}

void ReliableClient::HandleTimeout(TimePoint now) {
  while (!due_.empty() && due_.begin()->first <= now) {
    const auto found = requests_.find(due_.begin()->second);
    if (found->second.deadline <= now) {
      End(found, std::nullopt,
          fmt::format("no answer within {} s", ToSeconds(options_.request_time)));
      continue;
    }
    if (now - heard_ < options_.retry_delay) {
      due_.erase(due_.begin());
      Send(found->first, found->second, now);
      continue;
    }
    heard_ = now;
    output_.reconnect = true;
    output_.to_broker.clear();
    due_.clear();
    for (auto& [number, request] : requests_) Send(number, request, now);
  }
}

ReliableClient::Output ReliableClient::TakeOutput() { return std::exchange(output_, {}); }

void ReliableClient::Send(std::uint64_t number, Request& request, TimePoint now) {
  request.retry_due = now + options_.retry_delay;
  due_.emplace(request.Due(), number);
  output_.to_broker.emplace_back(request.message);
}

void ReliableClient::End(Requests::iterator request, std::optional<AnswerStatus> status,
                         std::string body) {
  output_.results.push_back({request->first, status, std::move(body)});
  due_.erase({request->second.Due(), request->first});
  number_of_id_.erase(request->second.message.id);
  requests_.erase(request);
}

}  // namespace ds::compute
