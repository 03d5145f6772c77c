#include "compute/tcp/worker.h"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "common/base/check.h"

namespace ds::compute::tcp {
namespace {

constexpr std::size_t kQueueCapacity = 256;
/// Connections taken over before the others have their turn.
constexpr int kTakenPerTurn = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(MakeProtocol make_protocol,
                                                       std::atomic<std::size_t>* connections_open,
                                                       LinePrinter* printer) {
  ASSIGN_OR_RETURN(auto loop, net::EventLoop::Create());
  ASSIGN_OR_RETURN(auto queue, ConnectionQueue::Create(kQueueCapacity));
  std::unique_ptr<Worker> worker(new Worker(std::move(make_protocol), std::move(loop),
                                            std::move(queue), connections_open, printer));
  RETURN_IF_ERROR(worker->loop_->Add(worker->queue_->fd(), EPOLLIN, worker.get()));
  return worker;
}

Worker::Worker(MakeProtocol make_protocol, std::unique_ptr<net::EventLoop> loop,
               std::unique_ptr<ConnectionQueue> queue, std::atomic<std::size_t>* connections_open,
               LinePrinter* printer)
    : make_protocol_(std::move(make_protocol)),
      loop_(std::move(loop)),
      queue_(std::move(queue)),
      connections_open_(connections_open),
      printer_(printer) {}

Worker::~Worker() {
  Stop();
  connections_.clear();
}

void Worker::Start(const std::string& name) {
  thread_ = std::jthread([this] { loop_->Run(); });
  ::pthread_setname_np(thread_.native_handle(), name.c_str());
}

void Worker::Stop() {
  if (!thread_.joinable()) return;
  loop_->Stop();
  thread_.join();
}

void Worker::OnEvents(std::uint32_t /*events*/) {
  std::uint64_t count = 0;
  // Before the taking: a push that comes in between is signalled anew.
  [[maybe_unused]] const ssize_t n = ::read(queue_->fd(), &count, sizeof count);
  for (int i = 0; i < kTakenPerTurn; ++i) {
    if (!TakeOne()) return;
  }
  const std::uint64_t more = 1;
  CHECK(::write(queue_->fd(), &more, sizeof more) == sizeof more);
}

bool Worker::TakeOne() {
  auto accepted = queue_->Take();
  if (!accepted) return false;
  counters_.connections.Add();
  printer_->Print("Connected " + accepted->peer.ToString());
  auto connection = std::make_unique<Connection>(this, std::move(accepted->socket), accepted->peer,
                                                 make_protocol_(std::chrono::steady_clock::now()));
  connection->index = connections_.size();
  Connection* const raw = connection.get();
  connections_.push_back(std::move(connection));
  if (!raw->Start().ok()) Close(raw, Connection::End::kPeerGone);  // out of epoll watches
  return true;
}

void Worker::CountAnswers() {
  counters_.primes.Add(std::exchange(answers_.primes, 0));
  counters_.composites.Add(std::exchange(answers_.composites, 0));
  counters_.errors.Add(std::exchange(answers_.errors, 0));
}

void Worker::Close(Connection* connection, Connection::End end) {
  if (end == Connection::End::kIdle) counters_.idle_timeouts.Add();
  if (end == Connection::End::kPeerGone) counters_.peers_gone.Add();
  const std::string line = "Disconnected " + connection->peer().ToString();
  const std::size_t index = connection->index;
  CHECK(connections_[index].get() == connection);
  std::swap(connections_[index], connections_.back());
  connections_[index]->index = index;
  connections_.pop_back();
  // Only now that the descriptor is free: whoever is told may connect again at the limit.
  load_.fetch_sub(1, std::memory_order_relaxed);
  connections_open_->fetch_sub(1, std::memory_order_relaxed);
  printer_->Print(line);
  if (connections_.empty() && on_idle_) std::exchange(on_idle_, nullptr)();
}

void Worker::BeginShutdown(std::function<void()> on_idle) {
  while (TakeOne()) {
  }
  for (std::size_t i = connections_.size(); i-- > 0;) {
    // Whoever closes is replaced by the last one, which was asked already.
    connections_[i]->BeginShutdown();
  }
  if (connections_.empty()) return on_idle();
  on_idle_ = std::move(on_idle);
}

}  // namespace ds::compute::tcp
