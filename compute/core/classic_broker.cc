#include "compute/core/classic_broker.h"

#include <fmt/format.h>

#include <utility>

#include "common/base/parse.h"
#include "compute/core/text.h"

namespace ds::compute {
namespace {

/// Longer than every Command::Line().
constexpr std::size_t kPrefixBytesMax = 256;

/// Whether a Command::Line() can begin so.
bool CanBeginCommand(std::string_view prefix) {
  for (const Command::Kind kind : {Command::Kind::kIsPrime, Command::Kind::kGcd}) {
    const std::string word = fmt::format("{} ", CommandWord(kind));
    if (word.starts_with(prefix)) return true;
    if (prefix.starts_with(word) &&
        prefix.find_first_not_of("-0123456789 ", word.size()) == std::string_view::npos) {
      return true;
    }
  }
  return false;
}

}  // namespace

ClassicBroker::ClassicBroker(const Options& options)
    : options_(options), closed_(options.closed), foreign_(options.foreign) {}

std::string ClassicBroker::HandleLine(std::string_view line, TimePoint now) {
  ++stats_.lines;
  const auto refuse = [&](std::string_view why) {
    ++stats_.refused;
    return ErrorAnswer(line, why);
  };
  if (line.size() > options_.line_bytes_max) {
    return refuse(fmt::format("a line has at most {} bytes", options_.line_bytes_max));
  }
  if (const auto utf8 = CheckUtf8("line", line); !utf8.ok()) return refuse(Message(utf8));

  if (!IsCommandLine(line)) {
    ++stats_.echoed;
    output_.to_clients.emplace_back(line);
    return "ok";
  }
  if (options_.echo_commands) output_.to_clients.emplace_back(line);
  const auto command = ParseCommand(line);
  if (!command.ok()) {
    ++stats_.wrong;
    output_.to_clients.push_back(ErrorAnswer(line, Message(command.status())));
    return "ok";
  }
  std::string canonical = command->Line();
  if (open_.size() >= options_.open_max) {
    ++stats_.refused;
    output_.to_clients.push_back(
        ErrorAnswer(canonical, fmt::format("too many requests are open ({})", options_.open_max)));
    return "ok";
  }
  ++stats_.requests;
  const bool held = !WorkerSubscribed(canonical);
  if (!held) output_.to_workers.push_back(canonical);
  const auto request = open_.insert(open_.end(), {canonical, now + options_.answer_time, held});
  by_line_.emplace(std::move(canonical), request);
  return "ok";
}

void ClassicBroker::HandleAnswer(std::string_view answer, TimePoint now) {
  HandleTimeout(now);  // what is over does not take an answer that waited in a queue
  if (answer.size() > options_.line_bytes_max || !CheckUtf8("answer", answer).ok()) {
    ++stats_.dropped;
    return;
  }
  const std::optional<Command> command = ParseAnswer(answer);
  if (!command) {
    const std::string key(answer);
    if (foreign_.Find(key, now) != nullptr) {
      ++stats_.dropped;
      return;
    }
    foreign_.Add(key, true, key.size(), now);
    ++stats_.passed_on;
    output_.to_clients.push_back(key);
    return;
  }
  const std::string line = command->Line();
  if (const auto found = by_line_.lower_bound(line);
      found != by_line_.end() && found->first == line) {
    ++stats_.answered;
    Close(found->second, now);
  } else if (closed_.Find(line, now) != nullptr) {
    ++stats_.dropped;
    return;
  } else {
    ++stats_.passed_on;
    closed_.Add(line, true, line.size(), now);
  }
  output_.to_clients.emplace_back(TrimBlanks(answer));
}

void ClassicBroker::HandleSubscription(std::string_view message, TimePoint now) {
  if (message.empty() || message.size() > 1 + kPrefixBytesMax) return;
  const std::string_view prefix = message.substr(1);
  if (!CanBeginCommand(prefix)) return;
  if (message[0] == '\0') {
    if (const auto found = prefixes_.find(prefix); found != prefixes_.end()) {
      prefixes_.erase(found);
    } else if (others_ > 0) {
      --others_;
    }
    return;
  }
  if (message[0] != '\1') return;
  if (prefixes_.size() < options_.subscriptions_max) {
    prefixes_.emplace(prefix);
  } else {
    ++stats_.unremembered;
    ++others_;
  }
  HandleTimeout(now);
  for (Request& request : open_) {
    if (!request.held || !request.line.starts_with(prefix)) continue;
    request.held = false;
    output_.to_workers.push_back(request.line);
  }
}

std::optional<TimePoint> ClassicBroker::NextDeadline() const {
  if (open_.empty()) return std::nullopt;
  return open_.front().deadline;
}

void ClassicBroker::HandleTimeout(TimePoint now) {
  while (!open_.empty() && open_.front().deadline <= now) {
    const Request& request = open_.front();
    ++stats_.timed_out;
    output_.to_clients.push_back(ErrorAnswer(
        request.line, request.held ? fmt::format("there is no worker for {}",
                                                 request.line.substr(0, request.line.find(' ')))
                                   : fmt::format("no worker has answered within {} s",
                                                 ToSeconds(options_.answer_time))));
    Close(open_.begin(), now);
  }
}

ClassicBroker::Output ClassicBroker::TakeOutput() { return std::exchange(output_, {}); }

bool ClassicBroker::WorkerSubscribed(const std::string& line) const {
  if (others_ > 0) return true;  // one of them may be its prefix
  for (std::size_t length = 0; length <= line.size(); ++length) {
    if (prefixes_.contains(std::string_view(line).substr(0, length))) return true;
  }
  return false;
}

void ClassicBroker::Close(Requests::iterator request, TimePoint now) {
  auto found = by_line_.lower_bound(request->line);
  while (found->second != request) ++found;
  closed_.Add(request->line, true, request->line.size(), now);
  by_line_.erase(found);
  open_.erase(request);
}

}  // namespace ds::compute
