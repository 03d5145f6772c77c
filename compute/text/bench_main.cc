#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "common/daemon/tool.h"
#include "common/load/cpu_time.h"
#include "common/load/report.h"
#include "common/rpc/channel.h"
#include "common/rpc/status.h"
#include "proto/compute/v1/text.grpc.pb.h"

namespace {

using namespace ds;  // NOLINT(google-build-using-namespace)

enum class Mode { kStream, kUnary };
constexpr std::pair<const char*, Mode> kModeNames[] = {{"stream", Mode::kStream},
                                                       {"unary", Mode::kUnary}};

struct Options {
  std::string server;
  Mode mode = Mode::kStream;
  unsigned callers = 1;
  double seconds = 5;
  bool json = false;
  rpc::ChannelOptions channel{};
};

/// As text, in both modes.
constexpr const char* kNumber = "15492781";
/// The load is stopped by time: a deadline only catches a server that hangs.
constexpr Duration kGrace = std::chrono::seconds(30);

/// One caller: asks, waits for the answer, asks again, until `end`.
class Caller {
 public:
  Caller(const Options& options, const std::shared_ptr<grpc::Channel>& channel)
      : options_(options), stub_(compute::v1::Text::NewStub(channel)) {}

  load::LoadTally Run(TimePoint end) {
    if (options_.mode == Mode::kStream) {
      Stream(end);
    } else {
      Unary(end);
    }
    return std::move(tally_);
  }

 private:
  void Stream(TimePoint end) {
    rpc::CallContext context(FromSeconds(options_.seconds) + kGrace);
    const auto stream = stub_->IsPrime(context.get());
    compute::v1::IsPrimeRequest request;
    request.set_number(kNumber);
    compute::v1::IsPrimeResponse response;
    for (TimePoint begin = Now(); begin < end;) {
      if (!stream->Write(request) || !stream->Read(&response)) break;
      begin = Answered(begin, response.prime());
    }
    stream->WritesDone();
    Check(stream->Finish());
  }

  void Unary(TimePoint end) {
    compute::v1::ReverseRequest request;
    request.set_text(kNumber);
    compute::v1::ReverseResponse response;
    for (TimePoint begin = Now(); begin < end;) {
      rpc::CallContext context(kGrace);
      const grpc::Status status = stub_->Reverse(context.get(), request, &response);
      Check(status);
      if (!status.ok()) return;
      begin = Answered(begin, response.text() == "18729451");
    }
  }

  static TimePoint Now() { return std::chrono::steady_clock::now(); }

  TimePoint Answered(TimePoint begin, bool right) {
    const TimePoint now = Now();
    tally_.latency.Record(static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(now - begin).count()));
    if (!right) tally_.AddError("wrong", "a wrong answer");
    return now;
  }

  void Check(const grpc::Status& status) {
    const absl::Status converted = rpc::FromGrpc(status);
    if (!converted.ok()) tally_.AddError("failed", Message(converted));
  }

  const Options& options_;
  const std::unique_ptr<compute::v1::Text::Stub> stub_;
  load::LoadTally tally_;
};

absl::StatusOr<load::LoadReport> Run(const Options& options) {
  load::LoadReport report;
  report.protocol = options.mode == Mode::kStream ? "stream" : "unary";
  report.connections = options.callers;
  report.threads = options.callers;
  report.cores = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::unique_ptr<Caller>> callers;
  for (unsigned i = 0; i < options.callers; ++i) {  // a connection each
    ASSIGN_OR_RETURN(const auto channel, rpc::MakeChannel(options.server, options.channel));
    if (!rpc::WaitForConnected(*channel, kGrace)) {
      return Unavailable("connect to " + options.server + ": no success within 30 s");
    }
    callers.push_back(std::make_unique<Caller>(options, channel));
  }
  const double cpu = load::CpuSeconds();
  const TimePoint begin = std::chrono::steady_clock::now();
  std::vector<load::LoadTally> tallies(callers.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < callers.size(); ++i) {
      threads.emplace_back(
          [&, i] { tallies[i] = callers[i]->Run(begin + FromSeconds(options.seconds)); });
    }
  }
  report.seconds = ToSeconds(std::chrono::steady_clock::now() - begin);
  report.client_cpu_fraction =
      (load::CpuSeconds() - cpu) / report.seconds / std::min(report.threads, report.cores);
  for (const auto& tally : tallies) report.tally.Merge(tally);
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  daemon::Tool tool({.name = "text-bench",
                     .summary = "Loads a text-server: callers that ask one thing after the other, "
                                "each over a connection of its own. Exits 1 when a call failed."});
  Options options;
  auto& flags = tool.flags();
  flags.add_option("SERVER", options.server, "HOST:PORT")->required();
  flags
      .add_option("--mode", options.mode,
                  "stream: numbers of one IsPrime stream; unary: calls of Reverse")
      ->transform(daemon::OneOf(kModeNames))
      ->default_str("stream");
  flags.add_option("-c,--callers", options.callers, "How many at a time")
      ->check(daemon::Count(1, 1000))
      ->capture_default_str();
  flags.add_option("--seconds", options.seconds, "Seconds to go on")
      ->check(daemon::Seconds(0.01, 86400))
      ->capture_default_str();
  flags.add_flag("--json", options.json, "Print the report as a JSON object");
  rpc::AddTlsFlags(flags, &options.channel.tls, rpc::TlsEnd::kClient);
  if (const auto code = tool.Parse(argc, argv)) return *code;
  const auto report = Run(options);
  if (!report.ok()) return tool.Fail(report.status());
  std::printf("%s\n", (options.json ? report->ToJson() : report->ToText()).c_str());
  return report->tally.ErrorCount() == 0 ? daemon::kExitSuccess : daemon::kExitFailure;
}
