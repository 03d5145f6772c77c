#include "udp_transfer/server/classic_service.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "udp_transfer/server/end_process.h"

namespace ds::udp_transfer {
namespace {

constexpr std::array kRefusalNames = {
    "name", "file_size", "sessions", "sessions_of_source", "total_size", "size_of_source"};
static_assert(kRefusalNames.size() == ClassicServer::kRefusalReasons);
constexpr std::array kDiscardNames = {"silent", "replaced", "fast", "storage_failed", "shutdown"};

/// Makes `to` equal to `value`, a total that only grows.
void Update(Counter& to, std::uint64_t value) { to.Add(value - to.Get()); }

}  // namespace

/// The file of one unfinished session. Storage effects are collected, and done by the pool in one
/// go; the core gives no new ones meanwhile, except to discard it all.
class ClassicService::File final : public net::WorkPool::Task {
 public:
  File(ClassicService* service, ClassicSession session, DatagramPort* port, const Path& path,
       const ClassicServer::Create& create)
      : service_(service),
        session_(session),
        port_(port),
        path_(path),
        name_(create.name),
        total_bytes_(create.total_bytes) {}

  ClassicSession session() const { return session_; }
  DatagramPort* port() const { return port_; }
  const Path& path() const { return path_; }
  const std::string& name() const { return name_; }
  const absl::Status& result() const { return result_; }
  const std::string& final_name() const { return final_name_; }
  bool discarded() const { return discard_; }
  bool complete() const { return complete_; }
  bool exists() const { return file_ != nullptr; }

  void Append(std::span<const std::byte> bytes) { pending_.assign(bytes.begin(), bytes.end()); }
  void Complete() { complete_ = true; }
  void Discard() { discard_ = true; }

  /// Hands what has been collected to the pool.
  void Submit() {
    discards_now_ = discard_;
    service_->pool_->Submit(this);
  }

  void Work() override {
    if (discards_now_) {
      file_.reset();  // to free a large file's blocks takes its time
      return;
    }
    result_ = Store();
    pending_.clear();
  }
  void OnDone() override { service_->OnFileDone(this); }

 private:
  absl::Status Store() {
    if (!file_) {
      ASSIGN_OR_RETURN(file_, service_->store_->OpenClassic(name_, total_bytes_));
    }
    if (!pending_.empty()) {
      RETURN_IF_ERROR(file_->Append(pending_, std::chrono::steady_clock::now()));
    }
    if (complete_) {
      ASSIGN_OR_RETURN(final_name_, file_->Complete());
      file_.reset();
    }
    return absl::OkStatus();
  }

  ClassicService* const service_;
  const ClassicSession session_;
  DatagramPort* const port_;
  const Path path_;
  const std::string name_;
  const std::uint64_t total_bytes_;
  std::unique_ptr<PartialStore::File> file_;
  std::vector<std::byte> pending_;
  bool complete_ = false;
  bool discard_ = false;       ///< the loop's: may be set while the pool is at it
  bool discards_now_ = false;  ///< the pool's
  absl::Status result_;
  std::string final_name_;
};

ClassicService::ClassicService(const ClassicServer::Options& options, PartialStore* store,
                               net::EventLoop* loop, net::WorkPool* pool)
    : store_(store), loop_(loop), pool_(pool), core_(options) {}

ClassicService::~ClassicService() { loop_->Cancel(this); }

void ClassicService::HandleDatagram(DatagramPort& port, std::span<const std::byte> datagram,
                                    const Path& path, TimePoint now) {
  Execute(core_.HandleDatagram(path.peer, datagram, now), &port, path);
}

bool ClassicService::HandleHello(DatagramPort& port, const Path& path) {
  const ClassicServer::HelloAnswer answer = core_.HandleHello(path.peer, loop_->now());
  const bool cookie = answer.cookie;
  Execute(answer.effects, &port, path);
  return cookie;
}

void ClassicService::DropSession(DatagramPort& port, const Path& path) {
  Execute(core_.DropSession(path.peer, loop_->now()), &port, path);
}

void ClassicService::DiscardAll() { Execute(core_.DiscardAll(), nullptr, {}); }

void ClassicService::OnTimer() { Execute(core_.HandleTimeout(loop_->now()), nullptr, {}); }

void ClassicService::Execute(ClassicServer::Effects effects, DatagramPort* port, const Path& path) {
  for (const ClassicServer::Effect& effect : effects) {
    if (const auto* create = std::get_if<ClassicServer::Create>(&effect)) {
      auto file = std::make_unique<File>(this, create->session, port, path, *create);
      to_submit_.push_back(file.get());
      files_.emplace(create->session, std::move(file));
    } else if (const auto* append = std::get_if<ClassicServer::Append>(&effect)) {
      File* file = files_.at(append->session).get();
      file->Append(append->bytes);
      to_submit_.push_back(file);
    } else if (const auto* complete = std::get_if<ClassicServer::Complete>(&effect)) {
      files_.at(complete->session)->Complete();  // submitted already: it comes with one of those
    } else if (const auto* discard = std::get_if<ClassicServer::Discard>(&effect)) {
      File* file = files_.at(discard->session).get();
      const bool given_up = discard->reason != ClassicServer::DiscardReason::kFast;
      if (given_up && log_limit_.Allow(loop_->now())) {
        spdlog::info("classic: \"{}\" from {} given up: {}{}", EscapeBytes(file->name()),
                     ToEndpoint(file->path().peer).ToString(),
                     kDiscardNames[static_cast<std::size_t>(discard->reason)],
                     log_limit_.Suppressed());
      }
      file->Discard();
      if (!file->under_way()) to_submit_.push_back(file);
    } else if (const auto* send = std::get_if<ClassicServer::Send>(&effect)) {
      CHECK(port != nullptr && send->to == path.peer, "an answer without a question");
      port->AddIfRoom(send->bytes(), path);
    } else {
      Log(std::get<ClassicServer::Refused>(effect));
    }
  }
  // Only now, since a Complete stands behind the Append that it belongs to.
  for (File* file : to_submit_) {
    if (!file->under_way()) file->Submit();
  }
  to_submit_.clear();
  if (const auto deadline = core_.NextDeadline()) {
    loop_->Arm(this, *deadline);
  } else {
    loop_->Cancel(this);
  }
  Publish();
}

void ClassicService::OnFileDone(File* file) {
  if (file->discarded() && file->exists()) {  // while the pool was writing it
    file->Submit();
    return;
  }
  if (absl::IsDataLoss(file->result())) EndProcess(file->result());
  const ClassicSession session = file->session();
  DatagramPort* const port = file->port();
  const Path path = file->path();
  if (file->discarded()) {
    files_.erase(session);
  } else if (!file->result().ok()) {
    if (log_limit_.Allow(loop_->now())) {
      spdlog::error("classic: \"{}\" from {}: {}{}", EscapeBytes(file->name()),
                    ToEndpoint(path.peer).ToString(), Message(file->result()),
                    log_limit_.Suppressed());
    }
    Execute(core_.StorageFailed(session, loop_->now()), port, path);
  } else {
    if (file->complete()) {
      if (log_limit_.Allow(loop_->now())) {
        spdlog::info("classic: \"{}\" from {} is complete{}", EscapeBytes(file->final_name()),
                     ToEndpoint(path.peer).ToString(), log_limit_.Suppressed());
      }
      files_.erase(session);
    }
    Execute(core_.Stored(session, loop_->now()), port, path);
  }
  port->Flush();
  if (files_.empty() && on_idle_) on_idle_();
}

void ClassicService::Log(const ClassicServer::Refused& refused) {
  if (!log_limit_.Allow(loop_->now())) return;
  spdlog::warn("classic: start of \"{}\", {} bytes, from {} refused: {}{}",
               EscapeBytes(refused.name.substr(0, 300)), refused.total_bytes,
               ToEndpoint(refused.from).ToString(),
               kRefusalNames[static_cast<std::size_t>(refused.reason)], log_limit_.Suppressed());
}

void ClassicService::Publish() {
  const ClassicServer::Counters& now = core_.counters();
  Update(published_.malformed, now.malformed);
  Update(published_.without_session, now.without_session);
  Update(published_.started, now.started);
  Update(published_.finished, now.finished);
  Update(published_.duplicates, now.duplicates);
  Update(published_.not_taken, now.not_taken);
  Update(published_.starts_ignored, now.starts_ignored);
  Update(published_.bytes_taken, now.bytes_taken);
  for (std::size_t i = 0; i < now.refused.size(); ++i) {
    Update(published_.refused[i], now.refused[i]);
  }
  for (std::size_t i = 0; i < now.discarded.size(); ++i) {
    Update(published_.discarded[i], now.discarded[i]);
  }
  published_.unfinished.store(core_.unfinished(), std::memory_order_relaxed);
}

void ClassicService::Collect(daemon::MetricsPage& page) const {
  const auto count = [&](const char* name, const char* help, const Counter& counter,
                         const daemon::Labels& labels = {}) {
    page.Count(name, help, static_cast<double>(counter.Get()), labels);
  };
  count("udp_classic_sessions_started_total", "Classic sessions begun.", published_.started);
  count("udp_classic_sessions_finished_total", "Classic sessions whose file is in its place.",
        published_.finished);
  for (std::size_t i = 0; i < kDiscardNames.size(); ++i) {
    count("udp_classic_sessions_discarded_total", "Unfinished classic sessions given up.",
          published_.discarded[i], {{"reason", kDiscardNames[i]}});
  }
  for (std::size_t i = 0; i < kRefusalNames.size(); ++i) {
    count("udp_classic_starts_refused_total", "Classic starts refused.", published_.refused[i],
          {{"reason", kRefusalNames[i]}});
  }
  count("udp_classic_starts_ignored_total",
        "Classic starts ignored while another session of the address was running.",
        published_.starts_ignored);
  count("udp_classic_datagrams_ignored_total", "Classic datagrams that changed nothing.",
        published_.malformed, {{"reason", "malformed"}});
  count("udp_classic_datagrams_ignored_total", "", published_.without_session,
        {{"reason", "no_session"}});
  count("udp_classic_datagrams_ignored_total", "", published_.duplicates,
        {{"reason", "duplicate"}});
  count("udp_classic_datagrams_ignored_total", "", published_.not_taken,
        {{"reason", "out_of_place"}});
  count("udp_classic_content_bytes_total", "Content taken by the classic protocol.",
        published_.bytes_taken);
  page.Gauge("udp_classic_sessions", "Unfinished classic sessions.",
             static_cast<double>(published_.unfinished.load(std::memory_order_relaxed)));
}

}  // namespace ds::udp_transfer
