#include "compute/tcp/server.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "common/net/socket.h"
#include "compute/core/number.h"

namespace ds::compute::tcp {
namespace {

/// Descriptors that are no connections: listeners, logs, metrics; and two for each worker.
constexpr std::size_t kDescriptorsReserved = 64;

std::size_t ConnectionsPossible(std::size_t wanted, unsigned workers) {
  const std::size_t descriptors = net::RaiseDescriptorLimit();
  const std::size_t reserved = kDescriptorsReserved + std::size_t{2} * workers;
  const std::size_t possible = descriptors > reserved ? descriptors - reserved : 1;
  if (possible < wanted) {
    spdlog::info("at most {} connections instead of {}: the limit of open files is {}", possible,
                 wanted, descriptors);
  }
  return std::min(wanted, possible);
}

}  // namespace

absl::StatusOr<daemon::Started> Server::Start(const ServerOptions& options, Speaks speaks,
                                              const Bind& bind, daemon::Metrics* metrics) {
  IsPrime(std::uint64_t{3});  // makes the sieve, which the first client shall not wait for
  std::unique_ptr<Server> server(new Server(options));
  ASSIGN_OR_RETURN(auto listeners, bind());
  daemon::Started started;
  for (const net::Listener& listener : listeners) started.listen.push_back(listener.local);
  ASSIGN_OR_RETURN(server->printer_, LinePrinter::Start(STDOUT_FILENO));
  const unsigned workers =
      options.workers > 0 ? options.workers : std::max(2U, std::thread::hardware_concurrency());
  RETURN_IF_ERROR(server->StartWorkers(workers, speaks));
  ASSIGN_OR_RETURN(server->acceptor_,
                   Acceptor::Start(std::move(listeners), &server->workers_,
                                   ConnectionsPossible(options.connections_max, workers),
                                   &server->connections_open_));
  server->registration_ =
      metrics->Register([raw = server.get()](daemon::MetricsPage& page) { raw->Collect(page); });
  started.service = std::move(server);
  return started;
}

Server::Server(const ServerOptions& options)
    : connection_options_{.idle_timeout = FromSeconds(options.idle_timeout_s)} {}

Server::~Server() {
  registration_ = {};
  acceptor_.reset();
  for (const auto& worker : workers_) worker->Stop();
}

absl::Status Server::StartWorkers(unsigned count, Speaks speaks) {
  const Worker::MakeProtocol make_protocol = [this, speaks](TimePoint now) -> Protocol {
    if (speaks == Speaks::kEcho) return EchoConnection(&connection_options_, now);
    return PrimeConnection(&connection_options_, now);
  };
  for (unsigned i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(auto worker,
                     Worker::Create(make_protocol, &connections_open_, printer_.get()));
    workers_.push_back(std::move(worker));
  }
  for (unsigned i = 0; i < count; ++i) workers_[i]->Start(fmt::format("worker-{}", i));
  return absl::OkStatus();
}

void Server::Drain(TimePoint deadline) {
  printer_->Print("Shutting down");
  acceptor_->Stop();
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t busy = workers_.size();
  for (const auto& worker : workers_) {
    worker->Post([&, raw = worker.get()] {
      raw->BeginShutdown([&] {
        const std::lock_guard lock(mutex);
        --busy;
        changed.notify_one();
      });
    });
  }
  {
    std::unique_lock lock(mutex);
    changed.wait_until(lock, deadline, [&] { return busy == 0; });
  }
  // After this nobody refers to the variables above any more.
  for (const auto& worker : workers_) worker->Stop();
  const std::size_t left = connections_open_.load();
  if (left > 0) spdlog::warn("{} connections cut off by the end of the drain timeout", left);
  printer_->Print("Done");
  printer_->Flush(std::max(deadline, std::chrono::steady_clock::now() + std::chrono::seconds(1)));
}

void Server::Collect(daemon::MetricsPage& page) const {
  const auto sum = [&](Counter WorkerCounters::*member) {
    std::uint64_t total = 0;
    for (const auto& worker : workers_) total += (worker->counters().*member).Get();
    return static_cast<double>(total);
  };
  const auto number = [](std::uint64_t n) { return static_cast<double>(n); };
  const auto answers = [&](Counter WorkerCounters::*member, const char* answer) {
    page.Count("prime_answers_total", "Answers by kind.", sum(member), {{"answer", answer}});
  };
  answers(&WorkerCounters::primes, "prime");
  answers(&WorkerCounters::composites, "not_prime");
  answers(&WorkerCounters::errors, "error");
  page.Count("prime_received_bytes_total", "Bytes read from peers.",
             sum(&WorkerCounters::received_bytes));
  page.Count("prime_connections_total", "Connections that workers took over.",
             sum(&WorkerCounters::connections));
  page.Gauge("prime_connections_open", "Open connections.", number(connections_open_.load()));
  std::size_t unsent = 0;
  for (const auto& worker : workers_) unsent += worker->unsent_bytes();
  page.Gauge("prime_unsent_bytes", "Answers that wait for peers to take them.", number(unsent));
  page.Count("prime_connections_refused_total", "Connections closed for being too many.",
             number(acceptor_->counters().refused.Get()));
  page.Count("prime_accept_errors_total", "Failed accepts (no descriptors, no memory).",
             number(acceptor_->counters().accept_errors.Get()));
  page.Count("prime_idle_timeouts_total", "Connections ended by --idle-timeout.",
             sum(&WorkerCounters::idle_timeouts));
  page.Count("prime_peers_gone_total", "Connections that were reset or broke.",
             sum(&WorkerCounters::peers_gone));
  page.Count("prime_lines_lost_total", "Lines for stdout that nobody took in time.",
             number(printer_->lines_lost()));
}

}  // namespace ds::compute::tcp
