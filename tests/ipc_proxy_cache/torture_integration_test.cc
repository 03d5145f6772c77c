#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/base/time.h"
#include "tests/getfile/getfile_server.h"
#include "tests/harness/deadline.h"
#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/harness/proc.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/sha256.h"
#include "tests/ipc_proxy_cache/nginx_origin.h"
#include "tests/ipc_proxy_cache/proxies.h"

// Proxies and the cache are killed, stopped and started at random while clients download, quickly
// and slowly, and compare the SHA-256 of all that they get; objects change, and are evicted, all
// the time. At the end nothing is left.
//
//   ipc_proxy_cache_torture_test [--seconds N] [--seed S]      (6 seconds, a seed of its own)

namespace ds::ipc_proxy_cache {
namespace {

using getfile::Content;
using std::chrono::milliseconds;
using testing::Eventually;
using testing::kDeadline;
using testing::RawPeer;
using testing::Sha256Hex;

struct Parameters {
  double seconds = 6;
  std::uint64_t seed = 0;
};
Parameters parameters;

constexpr std::uint16_t kPort = 9000;
constexpr int kClients = 24;
constexpr int kObjects = 24;
/// Objects with a lower number never change.
constexpr int kSteadyObjects = 16;
constexpr std::array<std::size_t, 8> kSizes = {0,      1,       560,       761,
                                               20'000, 100'000, 1'200'000, 1'900'000};
/// Each version is as much longer than the one before: nginx's ETag is the time, in seconds, and
/// the length. It also tells a client which version it has.
constexpr std::size_t kVersionStep = 8;

/// All versions of all objects that the origin has ever had. Thread-safe.
class Objects {
 public:
  explicit Objects(const NginxOrigin& origin) : origin_(origin) {
    for (int object = 0; object < kObjects; ++object) Change(object);
  }

  /// Gives the origin the next version.
  void Change(int object) {
    const std::lock_guard lock(mutex_);
    Versions& versions = versions_[object];
    const unsigned number = versions.next++;
    const std::size_t size =
        kSizes[static_cast<std::size_t>(object) % kSizes.size()] + number * kVersionStep;
    const unsigned seed = static_cast<unsigned>(object) + 1 + 1000 * number;
    const std::string content = Content(size, seed);
    origin_.Write(std::to_string(object), content);
    versions.digests[size] = Sha256Hex(content);
    versions.seeds[size] = seed;
  }

  /// Whether an object of this length ever had these bytes from `first` on; all of it if `bytes`
  /// is as long as the object.
  bool Has(int object, std::size_t length, std::string_view bytes, std::size_t first = 0) const {
    unsigned seed = 0;
    std::string digest;
    {
      const std::lock_guard lock(mutex_);
      const Versions& versions = versions_.at(object);
      const auto found = versions.digests.find(length);
      if (found == versions.digests.end()) return false;
      digest = found->second;
      seed = versions.seeds.at(length);
    }
    if (bytes.size() == length) return Sha256Hex(bytes) == digest;
    const std::string content = Content(length, seed);
    return first + bytes.size() <= length &&
           std::string_view(content).substr(first, bytes.size()) == bytes;
  }

 private:
  struct Versions {
    unsigned next = 0;
    std::map<std::size_t, std::string> digests;  ///< by length
    std::map<std::size_t, unsigned> seeds;
  };

  const NginxOrigin& origin_;
  mutable std::mutex mutex_;
  std::map<int, Versions> versions_;
};

struct Totals {
  std::atomic<std::uint64_t> downloads = 0;  ///< whole, and right
  std::atomic<std::uint64_t> bytes = 0;
  std::atomic<std::uint64_t> slow = 0;     ///< of them, read slowly
  std::atomic<std::uint64_t> ranges = 0;   ///< of them, parts
  std::atomic<std::uint64_t> closed = 0;   ///< by the client, early
  std::atomic<std::uint64_t> cut = 0;      ///< ended early, what came was right
  std::atomic<std::uint64_t> refused = 0;  ///< no connection, or no answer: the proxy was dead
  std::atomic<std::uint64_t> corrupt = 0;
  std::atomic<std::uint64_t> unexcused = 0;  ///< errors and cuts for which there was no reason
  std::uint64_t proxies_killed = 0, caches_killed = 0, stopped = 0, changed = 0, purged = 0;
  double hits = 0, misses = 0, coalesced = 0, stale = 0, promotions = 0, evicted = 0;
};

/// One client after the other, with a seed of its own.
class Client {
 public:
  Client(std::uint64_t seed, const std::vector<std::string>* hosts, const Objects* objects,
         Totals* totals)
      : rng_(seed), hosts_(hosts), objects_(objects), totals_(totals) {}

  void Run(const std::atomic<bool>& done) {
    while (!done) DownloadOne();
  }

 private:
  enum class Manner { kQuick, kSlow, kRange, kEarlyEnd };

  void DownloadOne() {
    const std::size_t proxy = rng_.Below(hosts_->size());
    const auto [object, path] = Choose();
    Manner manner = Manner::kQuick;
    if (rng_.Below(6) == 0) manner = Manner::kSlow;
    if (rng_.Below(10) == 0) manner = Manner::kRange;
    if (rng_.Below(10) == 0) manner = Manner::kEarlyEnd;
    const bool getfile = manner != Manner::kRange && rng_.Below(2) == 0 && !path.contains_query;
    const std::string& target = path.text;

    auto peer = RawPeer::Connect((*hosts_)[proxy], kPort,
                                 {.receive_buffer_bytes = manner == Manner::kSlow ? 4096 : 0});
    if (!peer.ok()) {
      ++totals_->refused;
      if (proxy == 0) Unexcused(target, "no connection");
      testing::LetTimePass(milliseconds(2));  // it is being started again
      return;
    }
    const std::string range = manner == Manner::kRange ? "Range: bytes=100-50000\r\n" : "";
    peer->Send(getfile ? getfile::Get(target)
                       : fmt::format("GET {} HTTP/1.1\r\nHost: h\r\n{}Connection: close\r\n\r\n",
                                     target, range));
    std::string received;
    if (manner == Manner::kEarlyEnd) {
      received = peer->Read(rng_.Below(20'000)).bytes;
      if (rng_.Below(2) == 0) peer->Reset();
      ++totals_->closed;
      return;
    }
    RawPeer::End end = RawPeer::End::kOpen;
    if (manner == Manner::kSlow) {
      // In all about a second, in pieces of any size.
      for (int i = 0; i < 20 && end == RawPeer::End::kOpen; ++i) {
        const auto piece = peer->Read(1 + rng_.Below(30'000));
        received += piece.bytes;
        end = piece.end;
        testing::LetTimePass(milliseconds(rng_.Below(100)));  // its slowness is its purpose
      }
    }
    if (end == RawPeer::End::kOpen) {
      const auto rest = peer->ReadToEnd();
      received += rest.bytes;
      end = rest.end;
    }
    Judge({.object = object,
           .path = path,
           .proxy = proxy,
           .manner = manner,
           .received = received,
           .end = end});
  }

  struct Path {
    std::string text;
    bool contains_query = false;
    bool whole_in_any_case = false;  ///< ranges and a strong validator: nothing excuses a cut
  };
  struct Answer {
    int object;
    const Path& path;
    std::size_t proxy;
    Manner manner;
    std::string_view received;
    RawPeer::End end;
  };

  std::pair<int, Path> Choose() {
    // One in three goes where all go at this moment, and is filled slowly.
    if (rng_.Below(3) == 0) {
      const auto now = std::chrono::steady_clock::now().time_since_epoch() / milliseconds(700);
      const int object = now % 2 == 0 ? 6 : 7;
      return {object, {fmt::format("/slow/{}?{}", object, now), true, true}};
    }
    const int object = static_cast<int>(rng_.Below(kObjects));
    const bool steady = object < kSteadyObjects;
    switch (rng_.Below(6)) {
      case 0:
        return {object, {fmt::format("/chunked/{}?{}", object, rng_.Below(4)), true, false}};
      case 1:
        return {object, {fmt::format("/ask/{}", object), false, steady}};
      case 2:
        return {object, {fmt::format("/second/{}", object), false, steady}};
      case 3:
        return {object, {fmt::format("/stale/{}", object), false, steady}};
      default:
        return {object,
                {fmt::format("/{}?{}", object, rng_.Below(1 + rng_.Below(30))), true, steady}};
    }
  }

  void Judge(const Answer& answer) {
    const std::size_t head_end = answer.received.find("\r\n\r\n");
    if (head_end == std::string_view::npos) {
      ++totals_->refused;
      if (answer.proxy == 0) Unexcused(answer.path.text, "no answer");
      return;
    }
    const std::string_view head = answer.received.substr(0, head_end + 2);
    const std::string_view body = answer.received.substr(head_end + 4);
    const std::string_view first_line = head.substr(0, head.find('\r'));
    if (first_line == "HTTP/1.1 416 Range Not Satisfiable") return;  // a small object
    std::optional<std::size_t> length;                               // of what is announced
    std::size_t first = 0;
    std::optional<std::size_t> object_length;
    constexpr std::string_view kGetfileOk = "GETFILE OK ";
    if (head.starts_with(kGetfileOk)) {
      object_length = length = Number(head.substr(kGetfileOk.size()));
    } else if (head.starts_with("HTTP/1.1 200 ")) {
      object_length = length = Number(Field(head, "Content-Length: "));
    } else if (head.starts_with("HTTP/1.1 206 ")) {
      length = Number(Field(head, "Content-Length: "));
      const std::string_view range = Field(head, "Content-Range: bytes ");
      first = Number(range).value_or(0);
      object_length = Number(range.substr(std::min(range.size(), range.find('/') + 1)));
    } else {
      Unexcused(answer.path.text, first_line);
      return;
    }
    if (!length || !object_length || body.size() > *length ||
        !objects_->Has(answer.object, *object_length, body, first)) {
      ++totals_->corrupt;
      fmt::print(stderr, "corrupt: {} of proxy {}: {}, {} bytes came\n", answer.path.text,
                 answer.proxy, first_line, body.size());
      return;
    }
    if (body.size() < *length || answer.end != RawPeer::End::kClosed) {
      ++totals_->cut;
      // Proxy 0 is never killed, and the origin never fails.
      if (answer.end == RawPeer::End::kTimeout ||
          (answer.proxy == 0 && answer.path.whole_in_any_case)) {
        Unexcused(answer.path.text,
                  fmt::format("{}, {} bytes came, end {}; {}", first_line, body.size(),
                              static_cast<int>(answer.end), Field(head, "X-Cache: ")));
      }
      return;
    }
    ++totals_->downloads;
    totals_->bytes += body.size();
    if (answer.manner == Manner::kSlow) ++totals_->slow;
    if (answer.manner == Manner::kRange) ++totals_->ranges;
  }

  void Unexcused(std::string_view path, std::string_view what) {
    ++totals_->unexcused;
    fmt::print(stderr, "without an excuse: {}: {}\n", path, what);
  }

  static std::string_view Field(std::string_view head, std::string_view name) {
    const std::size_t at = head.find(name);
    return at == std::string_view::npos ? "" : head.substr(at + name.size());
  }
  static std::optional<std::size_t> Number(std::string_view text) {
    std::size_t value = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) {
      return std::nullopt;
    }
    return value;
  }

  Rng rng_;
  const std::vector<std::string>* const hosts_;
  const Objects* const objects_;
  Totals* const totals_;
};

constexpr const char* kLocations = R"(
location /second/ { alias $files/; add_header Cache-Control "max-age=1"; }
location /ask/ { alias $files/; add_header Cache-Control "no-cache"; }
location /stale/ { alias $files/; add_header Cache-Control "max-age=0, stale-while-revalidate=1"; }
)";

class Torture : public ::testing::Test {
 protected:
  Torture() {
    for (std::size_t i = 0; i < lease_.size(); ++i) hosts_.push_back(lease_.address(i));
    StartCache();
    const std::vector<std::vector<std::string>> forms = {
        {}, {"--sendfile"}, {"-n", "1", "-z", "824"}, {"-n", "8", "-z", "8192"}};
    for (std::size_t i = 0; i < forms.size(); ++i) {
      std::vector<std::string> flags = forms[i];
      flags.insert(flags.end(),
                   {"-s", origin_.url(), "-t", "2", "--cache-socket", machine_.socket(), "--listen",
                    fmt::format("{}:{}", hosts_[i], kPort), "--metrics", "127.0.0.1:0"});
      proxies_.push_back(std::make_unique<DaemonProcess>(
          DaemonProcess::Options{.program = "getfile-proxy", .arguments = flags}));
      CHECK(proxies_.back()->StartAndWaitReady().ok());
      AwaitLinks(*proxies_.back());
    }
  }

  void StartCache() { cache_ = machine_.Cache({"--memory", "16M"}); }

  /// One of the mortal, if possible one that leads a fill.
  std::size_t Leader() {
    const auto status = machine_.Status();
    for (const auto& link : status["proxies"]) {
      for (std::size_t i = 1; i < proxies_.size(); ++i) {
        if (link["fills_led"] > 0 && link["pid"] == proxies_[i]->pid()) return i;
      }
    }
    return 1 + rng_.Below(proxies_.size() - 1);
  }

  void KillProxy(std::size_t i) {
    Sample(*proxies_[i]);
    proxies_[i]->Kill();
    ++totals_.proxies_killed;
    Pause(rng_.Below(100));
    ASSERT_TRUE(proxies_[i]->StartAndWaitReady().ok());
  }

  void KillCache() {
    SampleCache();
    cache_->Kill();
    ++totals_.caches_killed;
    Pause(rng_.Below(200));
    StartCache();
  }

  void Stop(DaemonProcess& process, std::uint64_t most_ms) {
    process.Pause();
    ++totals_.stopped;
    Pause(rng_.Below(most_ms));
    process.Resume();
  }

  void Purge() {
    const auto purged = machine_.Ctl({"purge", rng_.Below(2) == 0 ? "--soft" : "--prefix",
                                      fmt::format("/{}", rng_.Below(kObjects))});
    EXPECT_EQ(purged.exit_code, 0) << purged.err;
    ++totals_.purged;
  }

  /// Between two blows.
  static void Pause(std::uint64_t ms) { testing::LetTimePass(milliseconds(ms)); }

  /// Counters end with their process.
  void Sample(const DaemonProcess& proxy) {
    totals_.hits += Served(proxy, "HIT");
    totals_.misses += Served(proxy, "MISS");
    totals_.coalesced += Served(proxy, "COALESCED");
    totals_.stale += Served(proxy, "STALE");
  }
  void SampleCache() {
    totals_.promotions += Metric(*cache_, "getfile_cached_promotions_total");
    totals_.evicted += Metric(*cache_, "getfile_cached_evicted_total");
  }

  /// Whether each kind of answer has been given.
  [[nodiscard]] bool SeenEverything() const {
    double hits = totals_.hits;
    double coalesced = totals_.coalesced;
    for (const auto& proxy : proxies_) {
      hits += Served(*proxy, "HIT");
      coalesced += Served(*proxy, "COALESCED");
    }
    return hits > 0 && coalesced > 0 &&
           totals_.promotions + Metric(*cache_, "getfile_cached_promotions_total") > 0 &&
           totals_.evicted + Metric(*cache_, "getfile_cached_evicted_total") > 0;
  }

  /// What must be as before once nobody downloads any more.
  struct Use {
    std::vector<std::size_t> memfds;
    std::size_t cache_descriptors;
    std::size_t steady_descriptors;
    std::uint64_t steady_bytes;
  };
  Use UseNow() {
    Use use;
    for (const auto& proxy : proxies_) use.memfds.push_back(MemfdsOf(proxy->pid()));
    use.cache_descriptors = cache_->open_descriptors();
    use.steady_descriptors = proxies_[0]->open_descriptors();
    use.steady_bytes = proxies_[0]->resident_bytes();
    return use;
  }

  void PrintTotals() const {
    fmt::print(
        "torture: seed {}, {} s: downloads {} ({} MiB; slow {}, ranges {}), closed early {}, cut "
        "{}, refused {}; proxies killed {}, caches killed {}, stopped {}, objects changed {}, "
        "purges {}; hits {}, misses {}, coalesced {}, stale {}, promotions {}, evicted {}; corrupt "
        "{}, unexcused {}\n",
        parameters.seed, parameters.seconds, totals_.downloads.load(), totals_.bytes.load() >> 20U,
        totals_.slow.load(), totals_.ranges.load(), totals_.closed.load(), totals_.cut.load(),
        totals_.refused.load(), totals_.proxies_killed, totals_.caches_killed, totals_.stopped,
        totals_.changed, totals_.purged, totals_.hits, totals_.misses, totals_.coalesced,
        totals_.stale, totals_.promotions, totals_.evicted, totals_.corrupt.load(),
        totals_.unexcused.load());
    std::fflush(stdout);
  }

  const Machine machine_{};
  const NginxOrigin origin_{{.locations = kLocations}};
  Objects objects_{origin_};
  const testing::LoopbackLease lease_{4};
  std::vector<std::string> hosts_;
  std::unique_ptr<DaemonProcess> cache_;
  std::vector<std::unique_ptr<DaemonProcess>> proxies_;  ///< the first is never killed
  Totals totals_;
  Rng rng_{parameters.seed};
};

TEST_F(Torture, EveryDownloadIsRightAndNothingIsLeft) {
  const Use before = UseNow();
  std::atomic<bool> done = false;
  std::vector<std::jthread> clients;
  for (std::uint64_t c = 0; c < kClients; ++c) {
    clients.emplace_back(
        [&, c] { Client(parameters.seed * 1000 + c, &hosts_, &objects_, &totals_).Run(done); });
  }
  // On a slow machine the time may be over before each kind of thing has happened once: then it
  // goes on, and the leader is killed, until they have.
  const TimePoint end = std::chrono::steady_clock::now() + FromSeconds(parameters.seconds);
  const TimePoint last = end + kDeadline;
  for (int blow = 0;; ++blow) {
    const TimePoint now = std::chrono::steady_clock::now();
    if (now >= end && (SeenEverything() || now >= last)) break;
    Pause(20 + rng_.Below(130));
    // The rare ones happen in any case.
    std::uint64_t what = blow < 4 ? static_cast<std::uint64_t>(blow) * 3 : rng_.Below(12);
    if (now >= end) what = 0;
    const std::size_t mortal = 1 + rng_.Below(proxies_.size() - 1);
    if (what <= 4) {
      KillProxy(what == 0 || what == 4 ? Leader() : mortal);
    } else if (what <= 6) {
      KillCache();
    } else if (what <= 8) {
      // Longer than the second after which the cache takes it for silent.
      Stop(*proxies_[mortal], 1500);
    } else if (what == 9) {
      Stop(*cache_, 1500);
    } else if (what == 10) {
      Purge();
    } else {
      objects_.Change(kSteadyObjects + static_cast<int>(rng_.Below(kObjects - kSteadyObjects)));
      ++totals_.changed;
    }
    if (HasFatalFailure()) break;
  }
  done = true;
  clients.clear();
  for (const auto& proxy : proxies_) Sample(*proxy);
  SampleCache();
  PrintTotals();

  EXPECT_EQ(totals_.corrupt, 0U);
  EXPECT_EQ(totals_.unexcused, 0U);
  // Or it shows nothing.
  EXPECT_GT(totals_.downloads, 50U);
  EXPECT_GT(totals_.slow, 0U);
  EXPECT_GT(totals_.ranges, 0U);
  EXPECT_GT(totals_.proxies_killed, 0U);
  EXPECT_GT(totals_.caches_killed, 0U);
  EXPECT_GT(totals_.stopped, 0U);
  EXPECT_GT(totals_.hits, 0);
  EXPECT_GT(totals_.coalesced, 0);
  EXPECT_GT(totals_.promotions, 0);
  EXPECT_GT(totals_.evicted, 0);

  for (const auto& proxy : proxies_) AwaitLinks(*proxy);
  EXPECT_TRUE(Eventually(kDeadline, "no fill is left",
                         [&] { return Metric(*cache_, "getfile_cached_fills") == 0; }));
  EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "/"}).exit_code, 0);
  EXPECT_TRUE(Eventually(kDeadline, "nobody holds what was dropped",
                         [&] { return machine_.Status()["retired_bytes"] == 0; }));
  EXPECT_EQ(machine_.Status()["objects"], 0);
  // The chunk that the cache has open, for small objects, may stay mapped, by the cache also for
  // each worker that takes content through segments; and connections to the origin wait to be used
  // again, so many for each worker.
  constexpr std::size_t kWorkers = 2;
  constexpr std::size_t kSegmentProxies = 2;
  constexpr std::size_t kIdle = 64;
  EXPECT_TRUE(Eventually(kDeadline, "no stray memory is open", [&] {
    const Use now = UseNow();
    return std::ranges::equal(now.memfds, before.memfds, [](std::size_t mapped, std::size_t was) {
      return mapped <= was + kWorkers;
    });
  }));
  EXPECT_TRUE(Eventually(
      kDeadline, "descriptors are back",
      [&] {
        const Use now = UseNow();
        return now.cache_descriptors <= before.cache_descriptors + 1 + kWorkers * kSegmentProxies &&
               now.steady_descriptors <= before.steady_descriptors + kWorkers * (kIdle + 1);
      }))
      << UseNow().cache_descriptors << " of the cache, before " << before.cache_descriptors << "; "
      << UseNow().steady_descriptors << " of the proxy, before " << before.steady_descriptors;
  if (testing::kSlowdown == 1) {  // a sanitizer keeps what was freed
    EXPECT_LT(UseNow().steady_bytes, before.steady_bytes + (32U << 20U));
  }
  const auto doctor = machine_.Ctl({"doctor"});
  EXPECT_EQ(doctor.exit_code, 0) << doctor.out;

  // And of those that are killed last nothing is left either, but the socket's file.
  for (const auto& proxy : proxies_) proxy->Kill();
  cache_->Kill();
  for (const std::string& folder : {std::string("/dev/shm"), std::string("/dev/mqueue")}) {
    for (const std::string& name : testing::ListFolder(folder)) {
      EXPECT_EQ(name.find("getfile"), std::string::npos) << name;
    }
  }
  StartCache();
  EXPECT_EQ(machine_.Ctl({"doctor"}).exit_code, 0);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  using ds::ipc_proxy_cache::parameters;
  parameters.seed = static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch() /
                                               std::chrono::milliseconds(1) % 1'000'000);
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view option = argv[i];
    if (option == "--seconds") {
      parameters.seconds = std::atof(argv[i + 1]);
    } else if (option == "--seed") {
      parameters.seed = std::strtoull(argv[i + 1], nullptr, 10);
    } else {
      std::fprintf(stderr, "usage: %s [--seconds N] [--seed S]\n", argv[0]);
      return 2;
    }
  }
  std::printf("torture: --seconds %g --seed %llu\n", parameters.seconds,
              static_cast<unsigned long long>(parameters.seed));
  std::fflush(stdout);
  return RUN_ALL_TESTS();
}
