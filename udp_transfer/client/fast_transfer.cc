#include "udp_transfer/client/fast_transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "udp_transfer/client/peer_text.h"

namespace ds::udp_transfer {

FastTransfer::FastTransfer(const Connection::Options& options, const ConnectionKeys& keys,
                           SourceReader* reader, DatagramPort* port, net::EventLoop* loop,
                           net::WorkPool* pool, Observer* observer)
    : link_(options, keys.server_to_client, keys.client_to_server,
            std::chrono::steady_clock::now()),
      reader_(reader),
      port_(port),
      loop_(loop),
      pool_(pool),
      observer_(observer) {}

FastTransfer::~FastTransfer() { loop_->Cancel(this); }

void FastTransfer::Start() { Serve(); }

void FastTransfer::HandleReset() {
  connection().HandleReset(loop_->now());
  Serve();
}

void FastTransfer::HandleRefusal(RefusalReason reason) {
  connection().HandleRefusal(
      reason == RefusalReason::kShutdown ? "the server shuts down" : "the server is full",
      loop_->now());
  Serve();
}

void FastTransfer::Abort(const std::string& why) {
  connection().Close(kFirstApplicationCode, why, loop_->now());
  link_.Pump(*port_, {}, loop_->now());
  port_->Flush();
}

void FastTransfer::OnTimer() {
  connection().HandleTimeout(loop_->now());
  Serve();
}

void FastTransfer::Serve() {
  if (state_ != State::kRunning) return;
  MoveBytes();
  bool all = false;
  for (bool again = true; again;) {
    again = false;
    all = link_.Pump(*port_, {}, std::chrono::steady_clock::now());
    port_->Flush();
    port_->TakeFailures([&](const SendBatch::Failure& failure) {
      if (failure.error != EMSGSIZE) return;
      // Each time datagrams get smaller, or the connection ends.
      connection().DatagramTooBig(failure.datagram_bytes, loop_->now());
      again = true;
    });
  }
  Look();
  if (state_ != State::kRunning) return;
  // A full socket reports room by itself.
  if (const auto deadline = all ? connection().NextDeadline() : connection().EndDeadline()) {
    loop_->Arm(this, *deadline);
  } else {
    loop_->Cancel(this);
  }
}

/// Gives the pool what there is to do, if it is not at it already.
void FastTransfer::MoveBytes() {
  if (under_way()) return;
  replies_ = connection().Readable();  // also of a server that has closed meanwhile
  room_ = connection().state() == Connection::State::kOpen ? connection().Writable()
                                                           : std::span<std::byte>();
  room_ = room_.first(std::min(room_.size(), kReadBytesMax));
  if (!replies_.empty()) starved_ = false;
  if (replies_.empty() && (room_.empty() || starved_)) return;
  pool_->Submit(this);
}

void FastTransfer::Work() {
  filled_ = 0;
  if (!replies_.empty()) read_status_ = reader_->HandleReplies(replies_);
  if (read_status_.ok() && !room_.empty()) filled_ = reader_->Fill(room_);
}

void FastTransfer::OnDone() {
  if (state_ != State::kRunning) return;
  for (const SourceReader::Result& result : reader_->TakeResults()) observer_->OnResult(result);
  connection().Consume(replies_.size());
  connection().Commit(filled_);
  starved_ = filled_ < room_.size();
  if (!read_status_.ok()) {
    connection().Close(kCloseProtocolViolation, Message(read_status_), loop_->now());
  } else if (reader_->at_end() && starved_ && !finished_) {
    connection().Finish();
    finished_ = true;
  }
  Serve();
}

/// Whether it is over.
void FastTransfer::Look() {
  if (under_way() || !connection().Readable().empty()) return;
  if (finished_ && reader_->all_answered()) {
    // The server may know by now, or may learn it from this; if neither, it finds out by itself.
    connection().Close(kCloseDone, "", loop_->now());
    link_.Pump(*port_, {}, loop_->now());
    port_->Flush();
    return End(State::kDone, absl::OkStatus());
  }
  if (connection().state() == Connection::State::kOpen) return;
  const CloseReason& reason = connection().close_reason();
  if (!read_status_.ok()) {
    End(State::kFailed, read_status_);
  } else if (reason.code == kCloseReset) {
    End(State::kFailed, Unavailable("the server does not know this transfer any more (has it been "
                                    "restarted?)"));
  } else if (reason.code == kCloseIdle) {
    End(State::kFailed, Error(absl::StatusCode::kDeadlineExceeded,
                              "no sign of life of the server within the idle time-out"));
  } else {
    End(State::kFailed,
        Unavailable(fmt::format(
            "{}ended the transfer: {}", reason.by_peer ? "the server " : "",
            reason.text.empty() ? fmt::format("code {}", reason.code) : PeerText(reason.text))));
  }
}

void FastTransfer::End(State state, absl::Status failure) {
  state_ = state;
  failure_ = std::move(failure);
  loop_->Cancel(this);
  observer_->OnEnd();
}

}  // namespace ds::udp_transfer
