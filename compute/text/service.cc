#include "compute/text/service.h"

#include <fmt/format.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "common/base/check.h"
#include "common/rpc/status.h"
#include "compute/core/number.h"
#include "compute/core/text.h"
#include "proto/compute/v1/text.grpc.pb.h"

namespace ds::compute {
namespace {

/// What a part of an answer takes in memory, beside its bytes: a string, a pointer to it in the
/// message, and a string in the core's result.
constexpr std::size_t kPartBytes = 2 * sizeof(std::string) + 32;

constexpr const char* kNoRoom = "too many answers wait to be sent";

v1::IsPrimeResponse Answer(const absl::StatusOr<Number>& number) {
  v1::IsPrimeResponse response;
  if (number.ok()) {
    response.set_number(number->ToString());
    response.set_prime(IsPrime(*number));
  } else {
    response.set_error(Message(number.status()));
  }
  return response;
}

/// Messages are parsed and made here, since gRPC's own way answers a request that it cannot parse
/// with UNIMPLEMENTED, and ends a stream as if it had been half-closed. kInvalidArgument.
template <typename Message>
absl::Status Parse(const grpc::ByteBuffer& bytes, Message* message) {
  grpc::ByteBuffer copy(bytes);  // of references
  if (grpc::SerializationTraits<Message>::Deserialize(&copy, message).ok()) return absl::OkStatus();
  return InvalidArgument("malformed message, or text that is not UTF-8");
}

template <typename Message>
void Serialize(const Message& message, grpc::ByteBuffer* bytes) {
  bool own_buffer = false;
  bytes->Clear();
  CHECK(grpc::SerializationTraits<Message>::Serialize(message, bytes, &own_buffer).ok());
}

absl::Status ResourceExhausted(std::string_view message) {
  return Error(absl::StatusCode::kResourceExhausted, message);
}

}  // namespace

absl::Status TextServiceOptions::Validate() const {
  if (streams_max < 1) return InvalidArgument("streams: less than one");
  if (answers_bytes_max < answer_bytes_max) {
    return InvalidArgument("memory of answers: less than one answer needs");
  }
  return absl::OkStatus();
}

using RawTextService =
    v1::Text::WithRawCallbackMethod_Reverse<v1::Text::WithRawCallbackMethod_Split<
        v1::Text::WithRawCallbackMethod_IsPrime<v1::Text::Service>>>;

class TextService::Impl : public RawTextService {
 public:
  Impl(const TextServiceOptions& options, daemon::Metrics* metrics)
      : options_(options), idle_thread_([this](const std::stop_token& stop) { EndIdle(stop); }) {
    if (metrics == nullptr) return;
    metrics_ = metrics->Register([this](daemon::MetricsPage& page) { Collect(page); });
  }
  ~Impl() override { CHECK(streams_.empty() && calls_.empty(), "a call outlives the server"); }

  grpc::ServerUnaryReactor* Reverse(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override {
    return (new UnaryCall(this, context))->Run(*request, response, &Impl::DoReverse);
  }

  grpc::ServerUnaryReactor* Split(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override {
    return (new UnaryCall(this, context))->Run(*request, response, &Impl::DoSplit);
  }

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* IsPrime(
      grpc::CallbackServerContext* context) override {
    return new PrimeStream(this, context);
  }

 private:
  /// A call of Reverse or Split, and the memory that its answer takes until it is sent. Owned by
  /// itself, as a stream is.
  class UnaryCall : public grpc::ServerUnaryReactor {
   public:
    UnaryCall(Impl* service, grpc::CallbackServerContext* context)
        : service_(service), context_(context) {
      service_->Add(this);
    }

    /// Answers `request` by `method`, and is then what gRPC wants to be given.
    UnaryCall* Run(const grpc::ByteBuffer& request, grpc::ByteBuffer* response,
                   absl::Status (Impl::*method)(const grpc::ByteBuffer&, grpc::ByteBuffer*,
                                                UnaryCall*)) {
      const absl::Status status = (service_->*method)(request, response, this);
      // What it took to make the answer is free again; a slow client holds no more than the answer.
      Hold(response->Length());
      Finish(rpc::ToGrpc(status));
      return this;
    }

    /// That the answer is going to take `bytes` in memory while it is made. False: there is no room
    /// for so much now.
    bool Reserve(std::size_t bytes) { return Hold(bytes) <= service_->options_.answers_bytes_max; }

    TimePoint begun() const { return begun_; }
    void Cancel() { context_->TryCancel(); }

   private:
    /// Returns what all calls hold now.
    std::size_t Hold(std::size_t bytes) {
      const std::size_t more = bytes - bytes_;  // modulo 2^64, where it is less
      bytes_ = bytes;
      return service_->answer_bytes_.fetch_add(more) + more;
    }

    void OnDone() override {
      Hold(0);
      service_->Remove(this);
      delete this;
    }

    Impl* const service_;
    grpc::CallbackServerContext* const context_;
    const TimePoint begun_ = std::chrono::steady_clock::now();
    std::size_t bytes_ = 0;
  };

  /// One stream of numbers. The next number is read when the answer to the last one was taken by
  /// the transport, so that a stream never holds more than one of each. Owned by itself: gRPC calls
  /// OnDone() once nothing else can be called, however the stream ends (half-closed, cancelled, its
  /// connection gone, its deadline passed).
  class PrimeStream : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
   public:
    PrimeStream(Impl* service, grpc::CallbackServerContext* context)
        : service_(service), context_(context), admitted_(service->Add(this)) {
      if (admitted_) {
        StartRead(&request_);
      } else {
        Finish(rpc::ToGrpc(ResourceExhausted("too many streams at a time")));
      }
    }

    void OnReadDone(bool ok) override {
      if (!ok) {  // half-closed, or cancelled
        Finish(grpc::Status::OK);
        return;
      }
      last_number_.store(std::chrono::steady_clock::now(), std::memory_order_relaxed);
      const v1::IsPrimeResponse response = Answer(ReadNumber());
      request_.Clear();
      Serialize(response, &response_);
      service_->numbers_.fetch_add(1, std::memory_order_relaxed);
      if (response.has_error()) service_->errors_.fetch_add(1, std::memory_order_relaxed);
      StartWrite(&response_);
    }

    void OnWriteDone(bool ok) override {
      if (ok) {
        StartRead(&request_);
      } else {
        Finish(grpc::Status::CANCELLED);
      }
    }

    void OnDone() override {
      if (admitted_) service_->Remove(this);
      delete this;
    }

    TimePoint last_number() const { return last_number_.load(std::memory_order_relaxed); }
    void Cancel() { context_->TryCancel(); }

   private:
    absl::StatusOr<Number> ReadNumber() const {
      v1::IsPrimeRequest request;
      RETURN_IF_ERROR(Parse(request_, &request));
      return ParseNumber(request.number());
    }

    Impl* const service_;
    grpc::CallbackServerContext* const context_;
    std::atomic<TimePoint> last_number_{std::chrono::steady_clock::now()};
    grpc::ByteBuffer request_;
    grpc::ByteBuffer response_;
    const bool admitted_;
  };

  absl::Status DoReverse(const grpc::ByteBuffer& bytes, grpc::ByteBuffer* answer, UnaryCall* call) {
    v1::ReverseRequest request;
    RETURN_IF_ERROR(Parse(bytes, &request));
    if (!call->Reserve(2 * request.text().size())) return Refuse(kNoRoom);
    ASSIGN_OR_RETURN(std::string reversed, compute::Reverse(request.text()));
    v1::ReverseResponse response;
    response.set_text(std::move(reversed));
    Serialize(response, answer);
    return absl::OkStatus();
  }

  absl::Status DoSplit(const grpc::ByteBuffer& bytes, grpc::ByteBuffer* answer, UnaryCall* call) {
    v1::SplitRequest request;
    RETURN_IF_ERROR(Parse(bytes, &request));
    if (!request.delimiter().empty()) {
      const std::size_t parts = CountParts(request.text(), request.delimiter());
      // A part of n bytes is a tag, a length and the bytes on the wire: never less than this.
      if (2 * parts > options_.answer_bytes_max) {
        return Refuse(fmt::format("{} parts are more than an answer of {} bytes holds", parts,
                                  options_.answer_bytes_max));
      }
      if (!call->Reserve(kPartBytes * parts + 2 * request.text().size())) return Refuse(kNoRoom);
    }
    ASSIGN_OR_RETURN(std::vector<std::string> parts,
                     compute::Split(request.text(), request.delimiter()));
    v1::SplitResponse response;
    response.set_count(parts.size());
    response.mutable_parts()->Reserve(static_cast<int>(parts.size()));
    for (std::string& part : parts) response.add_parts(std::move(part));
    const std::size_t size = response.ByteSizeLong();
    if (size > options_.answer_bytes_max) {
      return Refuse(
          fmt::format("the answer has {} bytes, more than {}", size, options_.answer_bytes_max));
    }
    Serialize(response, answer);
    return absl::OkStatus();
  }

  absl::Status Refuse(std::string_view why) {
    answers_refused_.fetch_add(1, std::memory_order_relaxed);
    return ResourceExhausted(why);
  }

  void Add(UnaryCall* call) {
    const std::lock_guard lock(mutex_);
    calls_.insert(call);
  }

  void Remove(UnaryCall* call) {
    const std::lock_guard lock(mutex_);
    calls_.erase(call);
  }

  bool Add(PrimeStream* stream) {
    const std::lock_guard lock(mutex_);
    if (streams_.size() >= options_.streams_max) {
      ++streams_refused_;
      return false;
    }
    streams_.insert(stream);
    return true;
  }

  void Remove(PrimeStream* stream) {
    const std::lock_guard lock(mutex_);
    streams_.erase(stream);
  }

  /// Cancels streams on which no number came for long, and calls whose answer nobody takes.
  void EndIdle(const std::stop_token& stop) {
    const Duration idle = FromSeconds(options_.stream_idle_s);
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      stopped_.wait_for(lock, stop, idle / 4, [] { return false; });
      const TimePoint oldest = std::chrono::steady_clock::now() - idle;
      for (PrimeStream* stream : streams_) {
        if (stream->last_number() > oldest) continue;
        ++streams_idle_;
        stream->Cancel();  // what follows from it is told on other threads: the lock is held here
      }
      for (UnaryCall* call : calls_) {
        if (call->begun() > oldest) continue;
        ++calls_idle_;
        call->Cancel();
      }
    }
  }

  void Collect(daemon::MetricsPage& page) {
    const auto count = [&](const char* name, const char* help, std::uint64_t value) {
      page.Count(name, help, static_cast<double>(value));
    };
    {
      const std::lock_guard lock(mutex_);
      page.Gauge("compute_text_streams", "IsPrime streams that are open",
                 static_cast<double>(streams_.size()));
      count("compute_text_streams_refused_total", "Streams refused, for there were too many",
            streams_refused_);
      count("compute_text_streams_idle_total", "Streams ended, for no number came", streams_idle_);
      count("compute_text_calls_idle_total", "Calls ended, for nobody took the answer",
            calls_idle_);
    }
    count("compute_text_numbers_total", "Numbers answered", numbers_.load());
    count("compute_text_number_errors_total", "Numbers answered with an error", errors_.load());
    count("compute_text_answers_refused_total",
          "Calls of Reverse and Split refused, for the answer was too large or memory was short",
          answers_refused_.load());
    page.Gauge("compute_text_answer_bytes", "Memory of answers to calls that are not sent yet",
               static_cast<double>(answer_bytes_.load()));
  }

  const TextServiceOptions options_;
  std::atomic<std::uint64_t> numbers_{0};
  std::atomic<std::uint64_t> errors_{0};
  std::atomic<std::uint64_t> answers_refused_{0};
  std::atomic<std::size_t> answer_bytes_{0};

  std::mutex mutex_;
  std::set<PrimeStream*> streams_;  // guarded by mutex_, as all below
  std::set<UnaryCall*> calls_;
  std::uint64_t streams_refused_ = 0;
  std::uint64_t streams_idle_ = 0;
  std::uint64_t calls_idle_ = 0;
  std::condition_variable_any stopped_;
  daemon::Metrics::Registration metrics_;
  std::jthread idle_thread_;
};

TextService::TextService(const TextServiceOptions& options, daemon::Metrics* metrics)
    : impl_(std::make_unique<Impl>(options, metrics)) {}
TextService::~TextService() = default;

grpc::Service* TextService::service() { return impl_.get(); }

}  // namespace ds::compute
