#include "getfile/front/options.h"

#include <algorithm>
#include <thread>

#include "common/daemon/program.h"

namespace ds::getfile {
namespace {

constexpr unsigned kThreadsMax = 1024;
constexpr std::uint64_t kDelayMax_us = 5'000'000;

}  // namespace

absl::Status FrontOptions::Validate() const {
  if (threads > kThreadsMax) return InvalidArgument("--threads: more than 1024");
  if (delay_us > kDelayMax_us) return InvalidArgument("--delay: more than 5000000 us");
  if (header_timeout_s <= 0 || timeout_s <= 0) {
    return InvalidArgument("--header-timeout, --timeout: not above 0 s");
  }
  if (connections_max == 0) return InvalidArgument("--max-connections: 0");
  if (send_buffer_total < (1U << 20U)) {
    return InvalidArgument("--send-buffer-total: less than 1 MiB");
  }
  return absl::OkStatus();
}

unsigned WorkerCount(const FrontOptions& options) {
  return options.threads > 0 ? options.threads : std::max(2U, std::thread::hardware_concurrency());
}

void AddFrontFlags(CLI::App& flags, FrontOptions* options) {
  flags.add_option("-t,--threads", options->threads, "Worker threads; 0: one per core, at least 2")
      ->check(daemon::Count(0, kThreadsMax))
      ->capture_default_str();
  flags.add_option("--dialect", options->dialect, "Spelling of answers")
      ->transform(daemon::OneOf(kDialectNames))
      ->default_str("standard");
  flags
      .add_option("--header-timeout", options->header_timeout_s,
                  "Seconds for a whole header, from the accept or from the last answer")
      ->check(daemon::Seconds(0.001, 86400))
      ->capture_default_str();
  flags.add_option("--timeout", options->timeout_s, "Seconds without progress in an answer")
      ->check(daemon::Seconds(0.001, 86400))
      ->capture_default_str();
  flags
      .add_option("--max-connections", options->connections_max,
                  "Connections served at once; further ones are answered ERROR, "
                  "and closed at once when there are 256 of those")
      ->check(daemon::Count(1))
      ->capture_default_str();
  flags
      .add_option("--send-buffer-total", options->send_buffer_total,
                  "Bytes that may wait in the kernel's send buffers (1m or more; k, m, g suffixes)")
      ->check(daemon::Size())
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  flags.add_option("--access-log", options->access_log,
                   "File for a line per answer; SIGHUP opens it anew (default: none)");
}

void AddDelayFlag(CLI::App& flags, FrontOptions* options) {
  flags.add_option("-d,--delay", options->delay_us, "Microseconds to wait before each lookup")
      ->check(daemon::Count(0, kDelayMax_us))
      ->capture_default_str();
}

}  // namespace ds::getfile
