#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include "CLI/CLI.hpp"
#include "common/load/histogram.h"
#include "ipc_proxy_cache/shm/reader_view.h"
#include "ipc_proxy_cache/shm/store.h"

// How long a worker needs to find an object that it may send: hash, index, record, key, reference.

namespace {

using ds::ipc_proxy_cache::IndexReader;
using ds::ipc_proxy_cache::ReaderView;
using ds::ipc_proxy_cache::Store;
using Clock = std::chrono::steady_clock;

struct Options {
  std::uint64_t objects = 10'000;
  std::uint64_t body_bytes = 1024;
  std::uint64_t lookups = 2'000'000;
  std::uint64_t memory_bytes = std::uint64_t{256} << 20U;
};

int Fail(std::string_view why) {
  fmt::print(stderr, "ipc-lookup-bench: {}\n", why);
  return EXIT_FAILURE;
}

std::uint64_t Nanoseconds(Clock::duration duration) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
}

int Run(const Options& options) {
  const auto secret = ds::ipc_proxy_cache::RandomHashSecret();
  if (!secret.ok()) return Fail(ds::Message(secret.status()));
  auto store = Store::Create(options.memory_bytes, *secret);
  if (!store.ok()) return Fail(ds::Message(store.status()));
  auto index = IndexReader::Adopt(ds::UniqueFd(::fcntl(store->index().fd(), F_DUPFD_CLOEXEC, 0)));
  if (!index.ok()) return Fail(ds::Message(index.status()));
  ReaderView view(*std::move(index));

  std::vector<std::string> keys;
  const std::vector<std::byte> body(options.body_bytes);
  for (std::uint64_t i = 0; keys.size() < options.objects && i < 2 * options.objects; ++i) {
    std::string key = fmt::format("http://127.0.0.1:8080/files/{:08}.bin", i);
    const auto result = store->Insert(
        {.hash = store->Hash(key), .key = key, .fields = "type=text/plain", .body = body}, {});
    if (result == Store::Result::kNoRoom) break;
    if (result == Store::Result::kStored) keys.push_back(std::move(key));
  }
  if (keys.size() < options.objects) return Fail("the objects do not fit into the memory");

  std::mt19937_64 random(1);
  ds::load::LatencyHistogram one;
  std::uint64_t misses = 0;
  std::uint64_t bytes = 0;
  const auto look_up = [&](const std::string& key) {
    auto found = view.Lookup(key);
    if (const auto* needs = std::get_if<ReaderView::NeedsMemfd>(&found)) {
      const auto live = store->Find(needs->memfd);
      const auto kind = live->chunk ? ReaderView::Kind::kChunk : ReaderView::Kind::kObject;
      if (!view.Map(needs->memfd, ds::UniqueFd(::fcntl(live->fd, F_DUPFD_CLOEXEC, 0)), kind).ok()) {
        return;
      }
      found = view.Lookup(key);
    }
    const auto* hit = std::get_if<ReaderView::Hit>(&found);
    if (hit == nullptr) {
      ++misses;
    } else {
      bytes += hit->object->Body().size();
    }
  };
  for (const std::string& key : keys) look_up(key);  // maps all
  std::vector<const std::string*> order;
  for (std::uint64_t i = 0; i < options.lookups; ++i) {
    order.push_back(&keys[random() % keys.size()]);
  }
  const auto begin = Clock::now();
  for (const std::string* key : order) {
    const auto start = Clock::now();
    look_up(*key);
    one.Record(Nanoseconds(Clock::now() - start));
  }
  const auto timed = Clock::now();
  for (const std::string* key : order) look_up(*key);
  const double mean =
      static_cast<double>(Nanoseconds(Clock::now() - timed)) / static_cast<double>(order.size());
  fmt::print(
      "objects={} body={} lookups={} misses={} p50_ns={} p99_ns={} p999_ns={} max_ns={} "
      "mean_ns={:.0f} (the mean without two readings of the clock for each) seconds={:.2f}\n",
      keys.size(), options.body_bytes, order.size(), misses, one.ValueAtQuantile(0.5),
      one.ValueAtQuantile(0.99), one.ValueAtQuantile(0.999), one.max(), mean,
      static_cast<double>(Nanoseconds(Clock::now() - begin)) / 1e9);
  return misses == 0 && bytes > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Latency of a lookup that hits, in process");
  app.add_option("--objects", options.objects, "objects in the cache")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--body", options.body_bytes, "bytes of each body")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--lookups", options.lookups, "lookups, of keys drawn evenly")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--memory", options.memory_bytes, "bytes")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return Run(options);
}
