#include "udp_transfer/server/server.h"

#include <fmt/format.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "common/fs/key_file.h"
#include "common/net/socket.h"
#include "udp_transfer/core/hello.h"
#include "udp_transfer/core/transfer_name.h"

namespace ds::udp_transfer {
namespace {

constexpr std::size_t kDiskThreads = 4;
/// How long a shutdown lets broken transfers be made durable, once they were told that it is over.
constexpr Duration kCheckpointTimeMax = std::chrono::seconds(10);

std::int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

/// Each minute, or twice in the time that it is kept if that is shorter, what nobody has resumed
/// for too long is removed, by a thread of the pool.
class Server::Expiry final : net::EventLoop::Timer, net::WorkPool::Task {
 public:
  Expiry(double keep_s, PartialStore* store, net::EventLoop* loop, net::WorkPool* pool)
      : interval_(FromSeconds(std::clamp(keep_s / 2, 0.5, 60.0))),
        store_(store),
        loop_(loop),
        pool_(pool) {
    OnDone();
  }
  ~Expiry() override { loop_->Cancel(this); }

 private:
  void OnTimer() override { pool_->Submit(this); }
  void Work() override { store_->Expire(UnixSeconds()); }
  void OnDone() override { loop_->Arm(this, loop_->now() + interval_); }

  const Duration interval_;
  PartialStore* const store_;
  net::EventLoop* const loop_;
  net::WorkPool* const pool_;
};

Server::Server(ServerOptions options) : options_(std::move(options)) {}

absl::StatusOr<daemon::Started> Server::Start(const ServerOptions& options,
                                              const std::vector<net::Endpoint>& listen,
                                              std::uint16_t port, daemon::Metrics* metrics) {
  // Each unfinished classic session keeps a file open.
  net::RaiseDescriptorLimit();
  std::unique_ptr<Server> server(new Server(options));
  RETURN_IF_ERROR(server->ReadKey());
  const bool off_loopback = std::any_of(listen.begin(), listen.end(),
                                        [](const net::Endpoint& at) { return !at.IsLoopback(); });
  if (options.mode == ServerMode::kClassic && !options.classic &&
      (off_loopback || !options.key_file.empty())) {
    return InvalidArgument(fmt::format(
        "--mode classic: {}, the classic protocol is spoken only with --classic, since nothing "
        "authenticates it",
        off_loopback ? "off loopback" : "beside a key"));
  }
  RETURN_IF_ERROR(server->OpenFolder(off_loopback));
  ASSIGN_OR_RETURN(server->loop_, net::EventLoop::Create());
  net::EventLoop* const loop = server->loop_.get();
  ASSIGN_OR_RETURN(server->pool_, net::WorkPool::Create(loop, kDiskThreads, "disk"));
  RETURN_IF_ERROR(server->OpenPorts(listen, port));
  server->classic_ = std::make_unique<ClassicService>(options.classic_limits, server->store_.get(),
                                                      loop, server->pool_.get());
  server->fast_ = std::make_unique<FastService>(options.fast, server->keys_.get(),
                                                server->store_.get(), loop, server->pool_.get());
  ClassicService* const classic = server->classic_.get();
  server->fast_->SetHelloGate(
      [classic](DatagramPort& at, const Path& path) { return classic->HandleHello(at, path); });
  server->fast_->SetOnOpened(
      [classic](DatagramPort& at, const Path& path) { classic->DropSession(at, path); });
  server->expiry_ = std::make_unique<Expiry>(options.keep_partial_s, server->store_.get(), loop,
                                             server->pool_.get());
  server->registration_ =
      metrics->Register([raw = server.get()](daemon::MetricsPage& page) { raw->Collect(page); });
  daemon::Started started;
  for (const auto& open : server->ports_) started.listen.push_back(open->local());
  server->thread_ = std::jthread([loop] { loop->Run(); });
  ::pthread_setname_np(server->thread_.native_handle(), "datagrams");
  started.service = std::move(server);
  return started;
}

Server::~Server() { Stop(); }

void Server::Stop() {
  registration_ = {};
  if (thread_.joinable()) {
    loop_->Stop();
    thread_.join();
  }
  pool_.reset();  // its threads use the sessions' files
  expiry_.reset();
  fast_.reset();
  classic_.reset();
  ports_.clear();
}

absl::Status Server::ReadKey() {
  std::optional<std::string> key;
  if (!options_.key_file.empty()) {
    auto file = fs::ReadKeyFile(options_.key_file);
    if (!file.ok()) return InvalidArgument(Message(file.status()));
    if (file->others_may_read) {
      spdlog::warn("the key in \"{}\" can be read by others", options_.key_file);
    }
    key = std::move(file->key);
  }
  keys_ = std::make_unique<KeySchedule>(std::move(key));
  return absl::OkStatus();
}

absl::Status Server::OpenFolder(bool off_loopback) {
  auto disk = fs::RootedDisk::Open(options_.folder);
  if (!disk.ok()) return InvalidArgument(Message(disk.status()));
  disk_ = std::move(disk).value();
  const PartialStore::Options store{
      .overwrite = options_.overwrite.value_or(off_loopback ? Overwrite::kRename : Overwrite::kYes),
      .sync = options_.sync,
      .keep_partial = std::chrono::seconds(static_cast<std::int64_t>(options_.keep_partial_s)),
      .file_bytes_max = options_.file_bytes_max,
      .partial_bytes_max = options_.partial_bytes_max,
      .lock = [this] { return LockFolder(); }};
  auto opened = PartialStore::Open(disk_.get(), store, UnixSeconds());
  if (!opened.ok()) {  // names in it are below the folder
    return Error(opened.status().code(),
                 fmt::format("open \"{}\": {}", options_.folder, Message(opened.status())));
  }
  store_ = std::move(opened).value();
  if (const std::size_t removed = store_->removed_at_start(); removed > 0) {
    spdlog::info("removed {} unfinished files that cannot be resumed or are too old", removed);
  }
  return absl::OkStatus();
}

absl::Status Server::LockFolder() {
  if (lock_ && lock_->InPlace(disk_->root())) return absl::OkStatus();
  ASSIGN_OR_RETURN(fs::FolderLock lock,
                   fs::FolderLock::Acquire(disk_->root(), std::string(kPartialFolder)));
  if (lock_) spdlog::warn("\"{}\" was removed, and is made again", kPartialFolder);
  lock_ = std::make_unique<fs::FolderLock>(std::move(lock));
  return absl::OkStatus();
}

absl::Status Server::OpenPorts(const std::vector<net::Endpoint>& listen, std::uint16_t port) {
  std::vector<DatagramSocket> sockets;
  if (listen.empty()) {
    ASSIGN_OR_RETURN(sockets, DatagramSocket::BindLoopback(port, {}));
    if (sockets.size() == 1) {
      spdlog::warn("no IPv6 on this machine: listening on 127.0.0.1 only");
    }
  }
  for (const net::Endpoint& endpoint : listen) {
    ASSIGN_OR_RETURN(DatagramSocket socket, DatagramSocket::Bind(endpoint, {}));
    sockets.push_back(std::move(socket));
  }
  for (DatagramSocket& socket : sockets) {
    ASSIGN_OR_RETURN(auto open, DatagramPort::Create(loop_.get(), std::move(socket), &in_, this));
    ports_.push_back(std::move(open));
  }
  return absl::OkStatus();
}

void Server::OnDatagram(DatagramPort& port, std::span<std::byte> datagram, const Path& path,
                        TimePoint now) {
  const bool fast = !datagram.empty() && (std::to_integer<unsigned>(datagram.front()) >= 0x80 ||
                                          LooksLikeHello(datagram));
  if (options_.mode == (fast ? ServerMode::kClassic : ServerMode::kFast)) {
    counters_.wrong_mode.Add();
  } else if (fast) {
    fast_->HandleDatagram(port, datagram, path, now);
  } else if (!options_.classic && (keys_->has_key() || !path.peer.IsLoopback())) {
    counters_.classic_not_allowed.Add();
  } else {
    classic_->HandleDatagram(port, datagram, path, now);
  }
}

void Server::OnTurn(DatagramPort& port) {
  fast_->OnTurn(port);
  fast_->Flush(port);
}

void Server::Drain(TimePoint deadline) {
  loop_->Post([this] {
    draining_ = true;
    classic_->BeginShutdown();
    fast_->BeginShutdown();
    classic_->SetIdleCallback([this] { CheckDrained(); });
    fast_->SetIdleCallback([this] { CheckDrained(); });
    CheckDrained();
  });
  {
    std::unique_lock lock(drain_mutex_);
    drain_changed_.wait_until(lock, deadline, [this] { return drained_; });
  }
  loop_->Post([this] {
    if (!classic_->idle() || fast_->HasUnfinishedFiles()) {
      spdlog::warn("transfers cut off by the end of the drain timeout");
    }
    ending_ = true;
    classic_->DiscardAll();
    fast_->CloseAll("the server shuts down");
    CheckDrained();
  });
  {
    // What broken transfers have is made durable by the threads of the pool.
    std::unique_lock lock(drain_mutex_);
    drain_changed_.wait_for(lock, kCheckpointTimeMax, [this] { return ended_; });
    if (!ended_) spdlog::warn("the disk is slow: what came last is not kept for a resume");
  }
  store_->Abandon();
  // Here, where a second signal still ends the process: a disk that hangs keeps a thread.
  Stop();
}

void Server::CheckDrained() {
  if (!draining_ || !classic_->idle()) return;
  if (ending_ ? fast_->HasOpenFiles() : !fast_->idle()) return;
  const std::lock_guard lock(drain_mutex_);
  (ending_ ? ended_ : drained_) = true;
  drain_changed_.notify_one();
}

void Server::Collect(daemon::MetricsPage& page) const {
  const auto sum = [&](Counter DatagramPort::Counters::*member) {
    std::uint64_t total = 0;
    for (const auto& port : ports_) total += (port->counters().*member).Get();
    return static_cast<double>(total);
  };
  page.Count("udp_datagrams_received_total", "Datagrams received.",
             sum(&DatagramPort::Counters::received));
  page.Count("udp_received_bytes_total", "UDP payload received.",
             sum(&DatagramPort::Counters::received_bytes));
  page.Count("udp_datagrams_sent_total", "Datagrams sent.", sum(&DatagramPort::Counters::sent));
  page.Count("udp_sent_bytes_total", "UDP payload sent.", sum(&DatagramPort::Counters::sent_bytes));
  page.Count("udp_sends_blocked_total", "Times that a socket's buffer was full.",
             sum(&DatagramPort::Counters::blocked));
  const auto refused = [&](const char* reason, const Counter& counter) {
    page.Count("udp_datagrams_refused_total", "Datagrams not looked at further.",
               static_cast<double>(counter.Get()), {{"reason", reason}});
  };
  refused("classic_not_allowed", counters_.classic_not_allowed);
  refused("mode", counters_.wrong_mode);
  classic_->Collect(page);
  fast_->Collect(page);
  const PartialStore::Usage usage = store_->usage();
  page.Gauge("udp_partial_files", "Unfinished fast files.", static_cast<double>(usage.receiving),
             {{"state", "receiving"}});
  page.Gauge("udp_partial_files", "", static_cast<double>(usage.waiting), {{"state", "waiting"}});
  page.Gauge("udp_partial_bytes", "Disk space of unfinished fast files.",
             static_cast<double>(usage.bytes));
}

}  // namespace ds::udp_transfer
