#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "CLI/CLI.hpp"
#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/load/histogram.h"
#include "ipc_proxy_cache/shm/reader_view.h"
#include "ipc_proxy_cache/shm/store.h"

// How long a worker needs to find an object that it may send: hash, index, record, key, reference.
// Beside it, how long it would need to get the same object from memcached over its Unix socket.

namespace {

using ds::ipc_proxy_cache::IndexReader;
using ds::ipc_proxy_cache::ReaderView;
using ds::ipc_proxy_cache::Store;
using Clock = std::chrono::steady_clock;

struct Options {
  std::uint64_t objects = 10'000;
  std::uint64_t body_bytes = 1024;
  double seconds = 1;
  std::uint64_t memory_bytes = std::uint64_t{256} << 20U;
  std::string memcached;  ///< its socket; empty: our own index
};

int Fail(std::string_view why) {
  fmt::print(stderr, "ipc-lookup-bench: {}\n", why);
  return EXIT_FAILURE;
}

std::uint64_t Nanoseconds(Clock::duration duration) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
}

/// A store of this process, and what a worker has to look into it. Single threaded.
class OwnIndex {
 public:
  static absl::StatusOr<std::unique_ptr<OwnIndex>> Create(std::uint64_t memory_bytes) {
    ASSIGN_OR_RETURN(const auto secret, ds::ipc_proxy_cache::RandomHashSecret());
    ASSIGN_OR_RETURN(auto store, Store::Create(memory_bytes, secret));
    ASSIGN_OR_RETURN(
        auto index,
        IndexReader::Adopt(ds::UniqueFd(::fcntl(store.index().fd(), F_DUPFD_CLOEXEC, 0))));
    return std::unique_ptr<OwnIndex>(new OwnIndex(std::move(store), std::move(index)));
  }

  /// False when there is no room.
  bool Insert(const std::string& key, std::span<const std::byte> body) {
    return store_.Insert(
               {.hash = store_.Hash(key), .key = key, .fields = "type=text/plain", .body = body},
               {}) == Store::Result::kStored;
  }

  /// The length of the body; 0 for a miss.
  std::size_t LookUp(const std::string& key) {
    auto found = view_.Lookup(key);
    if (const auto* needs = std::get_if<ReaderView::NeedsMemfd>(&found)) {
      const auto live = store_.Find(needs->memfd);
      const auto kind = live->chunk ? ReaderView::Kind::kChunk : ReaderView::Kind::kObject;
      if (!view_.Map(needs->memfd, ds::UniqueFd(::fcntl(live->fd, F_DUPFD_CLOEXEC, 0)), kind)
               .ok()) {
        return 0;
      }
      found = view_.Lookup(key);
    }
    const auto* hit = std::get_if<ReaderView::Hit>(&found);
    return hit == nullptr ? 0 : hit->object->Body().size();
  }

 private:
  OwnIndex(Store store, IndexReader index) : store_(std::move(store)), view_(std::move(index)) {}

  Store store_;
  ReaderView view_;
};

/// One connection to memcached, and its text protocol. Blocking, single threaded.
class Memcached {
 public:
  static absl::StatusOr<std::unique_ptr<Memcached>> Create(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return ds::InvalidArgument("path too long");
    std::memcpy(static_cast<char*>(address.sun_path), path.data(), path.size());
    ds::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket ||
        ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      return ds::ErrnoError("connect to \"" + path + "\"", errno);
    }
    return std::unique_ptr<Memcached>(new Memcached(std::move(socket)));
  }

  bool Insert(const std::string& key, std::span<const std::byte> body) {
    std::string request = fmt::format("set {} 0 0 {}\r\n", key, body.size());
    request.append(reinterpret_cast<const char*>(body.data()), body.size());
    request += "\r\n";
    return Ask(request, "\r\n") == "STORED\r\n";
  }

  std::size_t LookUp(const std::string& key) {
    request_ = "get ";
    request_ += key;
    request_ += "\r\n";
    const std::string_view answer = Ask(request_, "END\r\n");
    // VALUE <key> <flags> <bytes>\r\n<bytes>\r\nEND\r\n
    const std::size_t line = answer.find("\r\n");
    if (!answer.starts_with("VALUE ") || line == std::string_view::npos) return 0;
    return answer.size() - (line + 2) - std::string_view("\r\nEND\r\n").size();
  }

 private:
  explicit Memcached(ds::UniqueFd socket) : socket_(std::move(socket)), answer_(1U << 21U, '\0') {}

  /// Valid until the next call; empty when the connection is gone.
  std::string_view Ask(std::string_view request, std::string_view end) {
    if (::send(socket_.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request.size())) {
      return {};
    }
    for (std::size_t length = 0; length < answer_.size();) {
      const ssize_t n = ::recv(socket_.get(), &answer_[length], answer_.size() - length, 0);
      if (n <= 0) return {};
      length += static_cast<std::size_t>(n);
      const std::string_view answer(answer_.data(), length);
      if (answer.ends_with(end)) return answer;  // bodies are zeros: no end within them
    }
    return {};
  }

  ds::UniqueFd socket_;
  std::string request_;
  std::string answer_;
};

template <typename Cache>
int Run(const Options& options, absl::StatusOr<std::unique_ptr<Cache>> created) {
  if (!created.ok()) return Fail(ds::Message(created.status()));
  Cache& cache = **created;
  std::vector<std::string> keys;
  const std::vector<std::byte> body(options.body_bytes);
  // The policy may refuse some, which would be evicted at once.
  for (std::uint64_t i = 0; keys.size() < options.objects && i < 2 * options.objects; ++i) {
    std::string key = fmt::format("http://127.0.0.1:8080/files/{:08}.bin", i);
    if (cache.Insert(key, body)) keys.push_back(std::move(key));
  }
  if (keys.size() < options.objects) return Fail("the objects do not fit into the memory");

  std::uint64_t misses = 0;
  const auto look_up = [&](const std::string& key) {
    if (cache.LookUp(key) != options.body_bytes) ++misses;
  };
  for (const std::string& key : keys) look_up(key);  // maps all
  std::mt19937_64 random(1);
  std::vector<const std::string*> order(1U << 20U);
  for (const std::string*& key : order) key = &keys[random() % keys.size()];

  ds::load::LatencyHistogram one;
  const auto begin = Clock::now();
  const auto half = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(options.seconds / 2));
  for (auto start = begin; start - begin < half;) {
    look_up(*order[one.count() % order.size()]);
    const auto end = Clock::now();
    one.Record(Nanoseconds(end - start));
    start = end;
  }
  // As many again, without a reading of the clock for each.
  const auto timed = Clock::now();
  for (std::uint64_t i = 0; i < one.count(); ++i) look_up(*order[i % order.size()]);
  const double mean =
      static_cast<double>(Nanoseconds(Clock::now() - timed)) / static_cast<double>(one.count());
  fmt::print(
      "objects={} body={} lookups={} misses={} p50_ns={} p99_ns={} p999_ns={} max_ns={} "
      "mean_ns={:.0f}\n",
      keys.size(), options.body_bytes, one.count(), misses, one.ValueAtQuantile(0.5),
      one.ValueAtQuantile(0.99), one.ValueAtQuantile(0.999), one.max(), mean);
  return misses == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Latency of a lookup that hits, in process: percentiles with a reading of the clock in each, "
      "the mean without");
  app.add_option("--objects", options.objects, "objects in the cache")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--body", options.body_bytes, "bytes of each body, 1 to 1048000")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'048'000));
  app.add_option("--seconds", options.seconds, "for which keys, drawn evenly, are looked up")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--memory", options.memory_bytes, "bytes")->capture_default_str();
  app.add_option("--memcached", options.memcached,
                 "Unix socket of a memcached to ask in place of our index");
  CLI11_PARSE(app, argc, argv);
  if (!options.memcached.empty()) return Run(options, Memcached::Create(options.memcached));
  return Run(options, OwnIndex::Create(options.memory_bytes));
}
