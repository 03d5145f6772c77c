#include "udp_transfer/client/run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/parse.h"
#include "common/daemon/progress_meter.h"
#include "common/fs/key_file.h"
#include "common/net/endpoint.h"
#include "common/net/event_loop.h"
#include "common/net/work_pool.h"
#include "udp_transfer/client/fast_transfer.h"
#include "udp_transfer/client/peer_text.h"
#include "udp_transfer/client/source_list.h"
#include "udp_transfer/client/source_reader.h"
#include "udp_transfer/core/discovery.h"
#include "udp_transfer/core/hello.h"
#include "udp_transfer/core/transfer_name.h"
#include "udp_transfer/net/datagram_port.h"
#include "udp_transfer/seal/hmac.h"
#include "udp_transfer/seal/key_schedule.h"

namespace ds::udp_transfer {
namespace {

constexpr double kBitsPerMbit = 1e6;
/// A client whose path seems dead asks for a new cookie this often.
constexpr Duration kCookieRetry = std::chrono::milliseconds(500);
/// Lines about sources that were not stored; the rest is counted.
constexpr std::size_t kFailuresShown = 20;

/// What went over the wire, of all attempts.
struct Totals {
  std::uint64_t sent_bytes = 0;
  std::uint64_t retransmitted_bytes = 0;
  std::optional<Duration> rtt;
  const char* mode = "classic";
};

/// One attempt to send all sources to one address of the server: discovery, and then one of the two
/// protocols.
class Attempt final : DatagramPort::Receiver,
                      FastTransfer::Observer,
                      net::EventLoop::Timer,
                      net::EventLoop::Watcher {
 public:
  Attempt(const ClientOptions& options, const KeySchedule& keys, std::vector<Source> sources,
          net::Endpoint server, int interrupt_fd, daemon::ProgressMeter* meter)
      : options_(options),
        keys_(keys),
        tags_(keys.hello_key()),
        sources_(std::move(sources)),
        server_(server),
        interrupt_fd_(interrupt_fd),
        meter_(meter) {}
  ~Attempt() override;

  /// What became of the attempt as a whole; single sources may have failed all the same.
  absl::Status Run();

  /// Nobody listens there: another address may do.
  bool refused() const { return refused_; }
  const std::vector<SourceReader::Result>& results() const { return results_; }
  /// Without a result, but perhaps stored.
  const std::vector<std::size_t>& unknown() const { return unknown_; }
  std::uint64_t resumed_bytes() const { return reader_ ? reader_->resumed_bytes() : 0; }
  const Totals& totals() const { return totals_; }

 private:
  absl::Status SetUp();
  void OnDatagram(DatagramPort& port, std::span<std::byte> datagram, const Path& path,
                  TimePoint now) override;
  void OnTurn(DatagramPort& port) override;
  void OnResult(const SourceReader::Result& result) override;
  void OnEnd() override;
  void OnTimer() override;
  void OnEvents(std::uint32_t events) override;

  // Before fast mode.
  void ServeDiscovery();
  absl::Status SupplyPayload();
  void MakeHello();
  void SendHello();
  void HandleCookie(std::span<const std::byte> datagram);
  void StartFast();
  void HandleRefusal(RefusalReason reason);

  void CountProgress(std::uint64_t bytes_done);
  void End(absl::Status status);

  const ClientOptions& options_;
  const KeySchedule& keys_;
  HelloSeal tags_;
  const std::vector<Source> sources_;
  const net::Endpoint server_;
  const int interrupt_fd_;
  daemon::ProgressMeter* const meter_;

  std::unique_ptr<net::EventLoop> loop_;
  std::unique_ptr<net::WorkPool> pool_;
  ReceiveBatch in_;
  std::unique_ptr<DatagramPort> port_;
  std::optional<Discovery> discovery_;
  UniqueFd file_;  ///< of a classic transfer
  Hello hello_;
  std::optional<CookieMessage> cookie_;
  std::optional<SourceReader> reader_;
  std::optional<FastTransfer> fast_;
  bool ended_ = false;
  bool refused_ = false;
  bool waits_for_place_ = false;  ///< the server was full, and a broken connection may be why
  absl::Status result_;
  std::vector<SourceReader::Result> results_;
  std::vector<std::size_t> unknown_;
  std::uint64_t progress_ = 0;  ///< content bytes that the meter knows of
  Totals totals_;
};

Attempt::~Attempt() {
  if (!loop_) return;
  loop_->Cancel(this);
  pool_.reset();
  fast_.reset();
  port_.reset();
}

absl::Status Attempt::SetUp() {
  ASSIGN_OR_RETURN(loop_, net::EventLoop::Create());
  RETURN_IF_ERROR(loop_->Add(interrupt_fd_, EPOLLIN, this));
  ASSIGN_OR_RETURN(pool_, net::WorkPool::Create(loop_.get(), 1, "reader"));
  ASSIGN_OR_RETURN(DatagramSocket socket, DatagramSocket::Connect(server_, {}));
  socket.AllowFragments(options_.mode != Discovery::Mode::kFast);
  ASSIGN_OR_RETURN(port_, DatagramPort::Create(loop_.get(), std::move(socket), &in_, this));

  MakeHello();

  Discovery::Options discovery{
      .mode = options_.mode,
      .timeout = FromSeconds(options_.timeout_s),
      .classic = {.name = sources_.front().name, .total_bytes = sources_.front().bytes}};
  if (options_.mode != Discovery::Mode::kFast) {
    file_.Reset(::open(sources_.front().path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file_) return ErrnoError(fmt::format("open \"{}\"", sources_.front().path), errno);
  }
  discovery_.emplace(std::move(discovery), std::chrono::steady_clock::now());
  return absl::OkStatus();
}

absl::Status Attempt::Run() {
  RETURN_IF_ERROR(SetUp());
  ServeDiscovery();
  port_->Flush();
  if (!ended_) loop_->Run();
  pool_.reset();  // from now on nobody else has the reader
  if (fast_) {
    for (SourceReader::Result& result : reader_->TakeResults()) {
      results_.push_back(std::move(result));
    }
    unknown_ = reader_->MayBeStored(fast_->connection().sent());
    const Connection::Stats& stats = fast_->connection().stats();
    totals_ = {stats.sent_bytes, stats.retransmitted_stream_bytes, {}, "fast"};
    if (fast_->connection().rtt().has_sample()) totals_.rtt = fast_->connection().rtt().smoothed();
  } else if (ClassicClient* classic = discovery_->classic(); classic != nullptr) {
    const ClassicClient::Stats& stats = classic->stats();
    totals_ = {stats.sent_bytes, stats.retransmitted_bytes, stats.rtt_min, "classic"};
    const bool done = discovery_->outcome() == Discovery::Outcome::kClassicDone;
    if (!done && discovery_->MayBeStored()) unknown_.push_back(0);
  }
  loop_->Remove(interrupt_fd_, this);
  return result_;
}

void Attempt::OnDatagram(DatagramPort& /*port*/, std::span<std::byte> datagram,
                         const Path& /*path*/, TimePoint now) {
  if (ended_ || datagram.empty()) return;
  const auto type = std::to_integer<std::uint8_t>(datagram.front());
  if (type == kCookieType) {
    HandleCookie(datagram);
  } else if (type < 0x80) {
    if (!fast_) discovery_->HandleDatagram(datagram, now);
  } else if (!fast_) {
    return;
  } else if (type == kResetType) {
    const auto reset = DecodeReset(datagram);
    if (reset && reset->connection_id == hello_.connection_id &&
        tags_.Matches(datagram.first(kResetBytes - kHelloTagBytes), reset->tag)) {
      fast_->HandleReset();
    }
  } else if (type == kRefusalType) {
    const auto refusal = DecodeRefusal(datagram);
    if (refusal && refusal->connection_id == hello_.connection_id &&
        tags_.Matches(datagram.first(kRefusalBytes - kHelloTagBytes), refusal->tag)) {
      HandleRefusal(refusal->reason);
    }
  } else {
    fast_->HandleDatagram(datagram, now);
  }
}

void Attempt::OnTurn(DatagramPort& port) {
  if (ended_) return;
  if (port.socket().TakeRefused() && !fast_) {
    // Once there is a connection, a restarted server may come back to its port.
    discovery_->HandleRefusal();
    refused_ = true;
  }
  if (fast_) {
    fast_->OnTurn();
    if (fast_) CountProgress(fast_->connection().acked());
  } else {
    ServeDiscovery();
    port.Flush();
  }
}

void Attempt::OnTimer() {
  if (fast_) {
    if (fast_->connection().NeedsCookie()) SendHello();
    port_->Flush();
    loop_->Arm(this, loop_->now() + kCookieRetry);
    return;
  }
  discovery_->HandleTimeout(loop_->now());
  ServeDiscovery();
  port_->Flush();
  // The refusal of what was just sent may be there already.
  OnTurn(*port_);
}

void Attempt::ServeDiscovery() {
  if (ended_) return;
  if (const absl::Status supplied = SupplyPayload(); !supplied.ok()) return End(supplied);
  for (;;) {
    const std::span<std::byte> room = port_->Room();
    if (room.empty()) break;
    const auto datagram = discovery_->PollTransmit(room, loop_->now());
    if (!datagram) break;
    if (datagram->hello) {
      if (datagram->fresh) MakeHello();
      SendHello();
    } else {
      port_->Add(datagram->bytes, {}, 0);
    }
  }
  if (ClassicClient* classic = discovery_->classic(); classic != nullptr) {
    CountProgress(classic->stats().acknowledged_bytes);
  }
  switch (discovery_->outcome()) {
    case Discovery::Outcome::kRunning:
      if (const auto deadline = discovery_->NextDeadline()) loop_->Arm(this, *deadline);
      break;
    case Discovery::Outcome::kFast:
      StartFast();
      break;
    case Discovery::Outcome::kClassicDone:
      results_.push_back({0, Outcome::kStored, sources_.front().name});
      End(absl::OkStatus());
      break;
    case Discovery::Outcome::kFailed: {
      std::string why = discovery_->FailureText();
      if (!options_.fast_because.empty()) {
        why += fmt::format("; {} needs fast mode, and a classic server has none",
                           options_.fast_because);
      }
      End(Unavailable(why));
      break;
    }
  }
}

/// The next payload of a classic transfer. Read here: it is small, and nothing else is to be done.
absl::Status Attempt::SupplyPayload() {
  ClassicClient* const classic = discovery_->classic();
  if (classic == nullptr) return absl::OkStatus();
  const auto wanted = classic->Wanted();
  if (!wanted) return absl::OkStatus();
  const std::string& path = sources_.front().path;
  std::size_t done = 0;
  while (done < wanted->room.size()) {
    const ssize_t n = ::pread(file_.get(), wanted->room.data() + done, wanted->room.size() - done,
                              static_cast<off_t>(wanted->offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(fmt::format("read \"{}\"", path), errno);
    if (n == 0) {
      return Error(absl::StatusCode::kFailedPrecondition,
                   fmt::format("read \"{}\": the file became shorter", path));
    }
    done += static_cast<std::size_t>(n);
  }
  classic->Supplied();
  return absl::OkStatus();
}

/// Cookies for another one than this count no more.
void Attempt::MakeHello() {
  FillRandom(std::as_writable_bytes(std::span(&hello_.connection_id, 1)));
  FillRandom(hello_.client_random);
  const auto tagged = TaggedHelloBytes(hello_);
  tags_.Write(tagged, hello_.tag);
  cookie_.reset();
}

void Attempt::SendHello() {
  const std::span<std::byte> room = port_->Room();
  if (room.empty()) return;
  EncodeHello(hello_, room.first<kHelloBytes>());
  port_->Add(kHelloBytes, {}, 0);
}

void Attempt::HandleCookie(std::span<const std::byte> datagram) {
  const auto cookie = DecodeCookie(datagram);
  if (!cookie || cookie->version != kVersion || cookie->connection_id != hello_.connection_id ||
      !std::equal(cookie->client_random_begin.begin(), cookie->client_random_begin.end(),
                  hello_.client_random.begin()) ||
      !tags_.Matches(datagram.first(kCookieDatagramBytes - kHelloTagBytes), cookie->tag)) {
    return;
  }
  if (!fast_) {
    if (!cookie_) cookie_ = cookie;
    discovery_->HandleCookie(loop_->now());
  } else if (fast_->connection().NeedsCookie()) {
    fast_->connection().HandleCookie({hello_.client_random, cookie->server_random, cookie->cookie});
  }
}

void Attempt::StartFast() {
  file_.Reset();
  port_->socket().AllowFragments(false);
  const ConnectionKeys keys = keys_.Derive(hello_.client_random, cookie_->server_random);
  Connection::Options connection{
      .role = Connection::Role::kClient,
      .id = hello_.connection_id,
      .send_buffer = static_cast<std::size_t>(options_.window_bytes),
      .receive_buffer = Connection::kFirstLimit,
      .tag_bytes = Sealer::TagBytes(keys_.has_key()),
      .initial = {hello_.client_random, cookie_->server_random, cookie_->cookie},
      .idle_timeout = FromSeconds(options_.idle_timeout_s),
      .peer_limit = cookie_->receive_window,
      .seed = hello_.connection_id};
  if (options_.rate_limit_mbit > 0) {
    connection.rate_max = options_.rate_limit_mbit * kBitsPerMbit / 8;
  }
  if (const auto rtt = discovery_->rtt()) {
    connection.initial_rtt = std::max<Duration>(*rtt, std::chrono::microseconds(50));
  }
  reader_.emplace(sources_, options_.resume, keys.digest);
  FastTransfer::Observer* const observer = this;
  fast_.emplace(connection, keys, &*reader_, port_.get(), loop_.get(), pool_.get(), observer);
  progress_ = 0;
  fast_->Start();
  if (!ended_) loop_->Arm(this, loop_->now() + kCookieRetry);
}

void Attempt::HandleRefusal(RefusalReason reason) {
  if (reason == RefusalReason::kFull && options_.resume) {
    // The connection that broke may have the place still, to the end of the server's idle time-out.
    waits_for_place_ = true;
    fast_->connection().AwaitPlace();
  } else {
    fast_->HandleRefusal(reason);
  }
}

void Attempt::OnResult(const SourceReader::Result& result) {
  results_.push_back(result);
  meter_->AddItem();
}

void Attempt::OnEnd() {
  const bool never_began = waits_for_place_ && !fast_->connection().established();
  if (never_began && absl::IsDeadlineExceeded(fast_->failure())) {
    return End(Unavailable("the server is full, and was to the end of the idle time-out"));
  }
  End(fast_->failure());
}

void Attempt::OnEvents(std::uint32_t /*events*/) {  // Ctrl+C
  if (fast_) fast_->Abort("the client was interrupted");
  End(Error(absl::StatusCode::kCancelled, "interrupted"));
}

void Attempt::CountProgress(std::uint64_t bytes_done) {
  if (bytes_done <= progress_) return;
  meter_->AddBytes(bytes_done - progress_);
  progress_ = bytes_done;
}

void Attempt::End(absl::Status status) {
  if (std::exchange(ended_, true)) return;
  result_ = std::move(status);
  loop_->Stop();
}

/// All attempts, and what is printed about them.
class Run {
 public:
  Run(ClientOptions options, daemon::Tool* tool) : options_(std::move(options)), tool_(tool) {}
  /// False: not everything was stored, and that was printed. An error: nothing was begun, or
  /// nothing could be printed.
  absl::StatusOr<bool> Execute();

 private:
  /// What was not stored, as far as anybody knows.
  struct Failure {
    std::string path;
    std::string name;  ///< on the server
    bool unknown;      ///< it may have been stored
    std::string why;
  };

  absl::Status Prepare();
  std::vector<Failure> Failures(const Attempt& attempt, bool broken) const;
  /// Of a run that ended before its first attempt.
  std::vector<Failure> AllFailures() const;
  void PrintFailures(const std::vector<Failure>& failures, const std::string& error) const;
  /// `attempt`: null if there was none.
  absl::Status PrintResult(const Attempt* attempt, Duration duration,
                           const std::vector<Failure>& failures, const std::string& error) const;

  ClientOptions options_;
  daemon::Tool* const tool_;
  std::optional<KeySchedule> keys_;
  std::vector<Source> sources_;
  std::vector<Skipped> unread_;  ///< that should be among them, but cannot be read
  std::vector<net::Endpoint> servers_;
};

absl::Status Run::Prepare() {
  RETURN_IF_ERROR(options_.Validate());
  std::optional<std::string> key;
  if (!options_.key_file.empty()) {
    auto file = fs::ReadKeyFile(options_.key_file);
    if (!file.ok()) return InvalidArgument(Message(file.status()));
    if (file->others_may_read) {
      daemon::PrintError("udp-client",
                         fmt::format("warning: \"{}\" can be read by others", options_.key_file));
    }
    key = std::move(file->key);
  }
  keys_.emplace(std::move(key));
  auto host_port = net::HostPort::Parse(options_.server);
  if (!host_port.ok()) return host_port.status();
  if (host_port->port == 0) {
    return InvalidArgument(fmt::format("send to {}: no server has port 0", options_.server));
  }

  const std::string name = options_.paths.back();
  const std::vector<std::string> paths(options_.paths.begin(), options_.paths.end() - 1);
  std::vector<Skipped> skipped;
  ASSIGN_OR_RETURN(sources_, ListSources(paths, name, &skipped));
  for (Skipped& each : skipped) {
    if (each.failed) {
      unread_.push_back(std::move(each));
    } else {
      daemon::PrintError("udp-client", "warning: " + Message(each.why));
    }
  }
  for (const Source& source : sources_) RETURN_IF_ERROR(CheckTransferName(source.name));
  const bool plain = sources_.size() == 1 && !sources_.front().folder &&
                     CheckClassicName(sources_.front().name).ok();
  if (!plain) {
    const bool several = sources_.size() != 1 || sources_.front().folder;
    RETURN_IF_ERROR(options_.NeedFast(several ? "a folder" : "a name with a slash"));
  }
  ASSIGN_OR_RETURN(servers_, net::Endpoint::Resolve(*host_port));
  return absl::OkStatus();
}

absl::StatusOr<bool> Run::Execute() {
  if (const absl::Status prepared = Prepare(); !prepared.ok()) {
    if (options_.json) {
      RETURN_IF_ERROR(PrintResult(nullptr, Duration(0), AllFailures(), Message(prepared)));
    }
    return prepared;
  }
  tool_->BeginWork();
  const TimePoint begin = std::chrono::steady_clock::now();
  std::size_t files = 0;
  std::uint64_t bytes = 0;
  for (const Source& source : sources_) {
    files += source.folder ? 0 : 1;
    bytes += source.bytes;
  }
  daemon::ProgressMeter meter(1);
  meter.AddBytesExpected(bytes);
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    Attempt attempt(options_, *keys_, sources_, servers_[i], tool_->interrupt_fd(), &meter);
    const absl::Status status = attempt.Run();
    if (!status.ok() && attempt.refused() && i + 1 < servers_.size()) continue;
    meter.Wipe();
    const Duration duration = std::chrono::steady_clock::now() - begin;
    std::string error;
    if (!status.ok()) {
      error = fmt::format("send \"{}\" to {}: {}", EscapeBytes(options_.paths.front()),
                          servers_[i].ToString(), Message(status));
    }
    const std::vector<Failure> failures = Failures(attempt, !status.ok());
    PrintFailures(failures, error);
    if (options_.json || error.empty()) {
      RETURN_IF_ERROR(PrintResult(&attempt, duration, failures, error));
    }
    return failures.empty() && error.empty();
  }
  return Unavailable(fmt::format("send to {}: no address", options_.server));
}

std::vector<Run::Failure> Run::Failures(const Attempt& attempt, bool broken) const {
  std::vector<Failure> failures;
  for (const Skipped& each : unread_) failures.push_back({each.path, "", false, Message(each.why)});
  std::vector<bool> has_result(sources_.size());
  for (const SourceReader::Result& result : attempt.results()) {
    has_result[result.source] = true;
    if (result.outcome == Outcome::kStored) continue;
    const Source& source = sources_[result.source];
    failures.push_back({source.path, source.name, false, PeerText(result.text)});
  }
  if (!broken) return failures;
  for (const std::size_t unknown : attempt.unknown()) {
    has_result[unknown] = true;
    const Source& source = sources_[unknown];
    failures.push_back({source.path, source.name, true, "it may have been stored all the same"});
  }
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (has_result[i]) continue;
    failures.push_back({sources_[i].path, sources_[i].name, false, "not sent as a whole"});
  }
  return failures;
}

std::vector<Run::Failure> Run::AllFailures() const {
  std::vector<Failure> failures;
  for (std::size_t i = 0; i + 1 < options_.paths.size(); ++i) {
    failures.push_back({options_.paths[i], "", false, "not sent"});
  }
  return failures;
}

/// On stderr: the first of them, and last what broke it all.
void Run::PrintFailures(const std::vector<Failure>& failures, const std::string& error) const {
  const auto text = [](const Failure& failure) {
    if (failure.name.empty()) return failure.why;
    return fmt::format("send \"{}\" as \"{}\": {}", EscapeBytes(failure.path),
                       EscapeBytes(failure.name), failure.why);
  };
  // Of a single one the error says it all.
  const bool single = sources_.size() == 1 && unread_.empty() && !error.empty();
  for (std::size_t i = 0; !single && i < std::min(failures.size(), kFailuresShown); ++i) {
    daemon::PrintError("udp-client", text(failures[i]));
  }
  if (failures.size() > kFailuresShown) {
    daemon::PrintError("udp-client", fmt::format("and {} more (--json names them all)",
                                                 failures.size() - kFailuresShown));
  }
  if (error.empty()) return;
  const bool unknown = single && !failures.empty() && failures.front().unknown;
  daemon::PrintError("udp-client", error + (unknown ? "; " + failures.front().why : ""));
}

absl::Status Run::PrintResult(const Attempt* attempt, Duration duration,
                              const std::vector<Failure>& failures,
                              const std::string& error) const {
  std::uint64_t bytes = 0;
  std::string name;
  const auto results = attempt ? attempt->results() : std::vector<SourceReader::Result>();
  for (const SourceReader::Result& result : results) {
    if (result.outcome != Outcome::kStored) continue;
    bytes += sources_[result.source].bytes;
    if (name.empty()) name = result.text;
  }
  const double seconds = ToSeconds(duration);
  const double mbit_per_s =
      seconds > 0 ? static_cast<double>(bytes) * 8 / seconds / kBitsPerMbit : 0;
  static constexpr Totals kNothing;
  const Totals& totals = attempt != nullptr ? attempt->totals() : kNothing;
  const std::size_t entries = attempt ? sources_.size() + unread_.size() : failures.size();
  const std::size_t stored = entries - failures.size();
  if (options_.json) {
    const auto unknown = static_cast<std::size_t>(std::count_if(
        failures.begin(), failures.end(), [](const Failure& f) { return f.unknown; }));
    nlohmann::ordered_json json = {{"name", name},
                                   {"files", stored},
                                   {"failed", failures.size() - unknown},
                                   {"unknown", unknown},
                                   {"bytes", bytes},
                                   {"seconds", seconds},
                                   {"mbit_per_s", mbit_per_s},
                                   {"sent_bytes", totals.sent_bytes},
                                   {"retransmitted_bytes", totals.retransmitted_bytes},
                                   {"resumed_bytes", attempt ? attempt->resumed_bytes() : 0},
                                   {"mode", nullptr},
                                   {"rtt_ms", nullptr},
                                   {"error", nullptr},
                                   {"failures", nlohmann::ordered_json::array()}};
    if (attempt) json["mode"] = totals.mode;
    if (!error.empty()) json["error"] = error;
    for (const Failure& failure : failures) {
      json["failures"].push_back({{"path", failure.path},
                                  {"name", failure.name},
                                  {"outcome", failure.unknown ? "unknown" : "failed"},
                                  {"why", failure.why}});
    }
    if (totals.rtt) json["rtt_ms"] = ToSeconds(*totals.rtt) * 1e3;
    const auto replace = nlohmann::ordered_json::error_handler_t::replace;  // names are any bytes
    std::printf("%s\n", json.dump(-1, ' ', false, replace).c_str());
  } else if (entries == 1) {
    if (stored == 1) {
      std::printf("%s %llu bytes in %.3f s, %.1f Mbit/s (%s)\n", EscapeBytes(name).c_str(),
                  static_cast<unsigned long long>(bytes), seconds, mbit_per_s, totals.mode);
    }
  } else {
    std::printf("%zu of %zu entries, %llu bytes in %.3f s, %.1f Mbit/s (%s)\n", stored, entries,
                static_cast<unsigned long long>(bytes), seconds, mbit_per_s, totals.mode);
  }
  if (std::fflush(stdout) != 0) {
    return ErrnoError("write the result to standard output", errno);
  }
  return absl::OkStatus();
}

}  // namespace

int RunClient(ClientOptions options, daemon::Tool* tool) {
  const absl::StatusOr<bool> sent = Run(std::move(options), tool).Execute();
  if (!sent.ok()) return tool->Fail(sent.status());
  if (*sent) return daemon::kExitSuccess;
  return tool->interrupted() ? tool->InterruptedExitCode() : daemon::kExitFailure;
}

}  // namespace ds::udp_transfer
