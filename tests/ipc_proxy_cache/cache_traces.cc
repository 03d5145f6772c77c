#include "tests/ipc_proxy_cache/cache_traces.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <numbers>
#include <set>
#include <unordered_map>
#include <utility>

#include "ipc_proxy_cache/core/tiny_lfu.h"

namespace ds::ipc_proxy_cache {
namespace {

constexpr std::uint32_t kCatalogue = 20000;

std::uint64_t Mix(std::uint64_t x) {
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

std::uint64_t SizeOf(std::uint32_t object, Sizes sizes) {
  if (sizes == Sizes::kEqual) return 16384;
  TraceRng rng(object);
  // Box and Muller.
  const double radius = std::sqrt(-2 * std::log(1 - rng.Unit()));
  const double normal = radius * std::cos(2 * std::numbers::pi * rng.Unit());
  return static_cast<std::uint64_t>(std::clamp(16384 * std::exp(1.5 * normal), 256.0, 8388608.0));
}

std::uint64_t SizeOfAll(std::uint32_t objects, Sizes sizes) {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < objects; ++i) sum += SizeOf(i, sizes);
  return sum;
}

/// Draws a rank in [0, n) with probability (rank + 1)^-skew.
class Zipf {
 public:
  Zipf(std::uint32_t n, double skew) : sums_(n) {
    double sum = 0;
    for (std::uint32_t i = 0; i < n; ++i) sums_[i] = sum += std::pow(i + 1.0, -skew);
  }
  std::uint32_t Draw(TraceRng* rng) const {
    const auto at = std::upper_bound(sums_.begin(), sums_.end() - 1, rng->Unit() * sums_.back());
    return static_cast<std::uint32_t>(at - sums_.begin());
  }

 private:
  std::vector<double> sums_;
};

std::string Named(const char* what, double skew, Sizes sizes) {
  std::string name = what;
  if (skew > 0) name += " " + std::to_string(skew).substr(0, 3);
  return name + (sizes == Sizes::kEqual ? ", equal sizes" : "");
}

/// Counts what a policy found.
class Count {
 public:
  explicit Count(const Trace& trace) : trace_(trace) {}
  void Hit(const Request& request) {
    ++objects_;
    bytes_ += request.bytes;
  }
  HitRatio Ratio() const {
    std::uint64_t bytes = 0;
    for (const Request& r : trace_.requests) bytes += r.bytes;
    return {.objects = static_cast<double>(objects_) / static_cast<double>(trace_.requests.size()),
            .bytes = static_cast<double>(bytes_) / static_cast<double>(bytes)};
  }

 private:
  const Trace& trace_;
  std::uint64_t objects_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace

KeyHash KeyOf(std::uint32_t object) {
  TraceRng rng(object + (std::uint64_t{1} << 32U));
  const std::uint64_t low = rng.Next();
  return {.low = low, .high = rng.Next()};
}

std::uint64_t TraceRng::Next() { return Mix(state_ += 0x9e3779b97f4a7c15U); }

Trace ZipfTrace(double skew, Sizes sizes, std::size_t requests, std::uint64_t seed) {
  Trace trace{.name = Named("zipf", skew, sizes),
              .capacity_bytes = SizeOfAll(kCatalogue, sizes) / 10,
              .requests = {}};
  TraceRng rng(seed);
  const Zipf zipf(kCatalogue, skew);
  while (trace.requests.size() < requests) {
    const std::uint32_t object = zipf.Draw(&rng);
    trace.requests.push_back({object, SizeOf(object, sizes)});
  }
  return trace;
}

Trace ScanTrace(double skew, Sizes sizes, std::size_t requests, std::uint64_t seed) {
  constexpr std::size_t kRun = 1000;
  const Trace zipf = ZipfTrace(skew, sizes, requests, seed);
  Trace trace{.name = Named("scan in zipf", skew, sizes),
              .capacity_bytes = zipf.capacity_bytes,
              .requests = {}};
  std::uint32_t never_seen = kCatalogue;
  for (std::size_t i = 0; trace.requests.size() < requests; ++i) {
    if (trace.requests.size() / kRun % 3 == 2) {
      trace.requests.push_back({never_seen, SizeOf(never_seen, sizes)});
      ++never_seen;
    } else {
      trace.requests.push_back(zipf.requests[i]);
    }
  }
  return trace;
}

Trace LoopTrace(Sizes sizes, std::size_t requests) {
  constexpr std::uint32_t kObjects = 3000;
  Trace trace{.name = Named("loop", 0, sizes),
              .capacity_bytes = SizeOfAll(kObjects, sizes) * 10 / 11,
              .requests = {}};
  for (std::size_t i = 0; i < requests; ++i) {
    const auto object = static_cast<std::uint32_t>(i % kObjects);
    trace.requests.push_back({object, SizeOf(object, sizes)});
  }
  return trace;
}

Trace ShiftTrace(double skew, Sizes sizes, std::size_t requests, std::uint64_t seed) {
  Trace trace = ZipfTrace(skew, sizes, requests, seed);
  trace.name = Named("shift of zipf", skew, sizes);
  for (std::size_t i = 0; i < requests; ++i) {
    Request& r = trace.requests[i];
    const auto moved = static_cast<std::uint32_t>(i * 5 / requests * (kCatalogue / 5));
    r.object = (r.object + moved) % kCatalogue;
    r.bytes = SizeOf(r.object, sizes);
  }
  return trace;
}

Trace NewsTrace(Sizes sizes, std::size_t requests, std::uint64_t seed) {
  Trace trace{.name = Named("news", 0, sizes),
              .capacity_bytes = SizeOfAll(kCatalogue, sizes) / 10,
              .requests = {}};
  TraceRng rng(seed);
  for (std::size_t i = 0; i < requests; ++i) {
    // One new object every five requests; what is asked for is mostly one of the last 1 500.
    const double age = -std::log(1 - rng.Unit()) * 1500;
    const std::size_t newest_object = i / 5 + 20000;
    const auto newest = static_cast<double>(newest_object);
    const auto object = static_cast<std::uint32_t>(std::max(newest - age, 0.0));
    trace.requests.push_back({object, SizeOf(object, sizes)});
  }
  return trace;
}

std::vector<Trace> AllTraces(std::size_t requests, std::uint64_t seed) {
  std::vector<Trace> traces;
  for (const Sizes sizes : {Sizes::kEqual, Sizes::kLognormal}) {
    for (const double skew : {0.6, 0.8, 1.0, 1.2}) {
      traces.push_back(ZipfTrace(skew, sizes, requests, seed));
    }
    for (const double skew : {0.8, 1.0}) {
      traces.push_back(ScanTrace(skew, sizes, requests, seed));
      traces.push_back(ShiftTrace(skew, sizes, requests, seed));
    }
    traces.push_back(LoopTrace(sizes, requests));
    traces.push_back(NewsTrace(sizes, requests, seed));
  }
  return traces;
}

HitRatio MeasureTinyLfu(const Trace& trace) {
  TinyLfu cache(trace.capacity_bytes);
  Count count(trace);
  for (const Request& r : trace.requests) {
    const KeyHash key = KeyOf(r.object);
    cache.Touch(key);
    if (cache.Contains(key)) {
      count.Hit(r);
    } else {
      cache.Insert(key, r.bytes);
    }
  }
  return count.Ratio();
}

HitRatio MeasureLru(const Trace& trace) {
  std::list<Request> order;  // the newest first
  std::unordered_map<std::uint32_t, std::list<Request>::iterator> place;
  std::uint64_t bytes = 0;
  Count count(trace);
  for (const Request& r : trace.requests) {
    if (const auto found = place.find(r.object); found != place.end()) {
      count.Hit(r);
      order.splice(order.begin(), order, found->second);
      continue;
    }
    if (r.bytes > trace.capacity_bytes) continue;
    order.push_front(r);
    place[r.object] = order.begin();
    for (bytes += r.bytes; bytes > trace.capacity_bytes; order.pop_back()) {
      bytes -= order.back().bytes;
      place.erase(order.back().object);
    }
  }
  return count.Ratio();
}

HitRatio MeasureMin(const Trace& trace) {
  const std::size_t n = trace.requests.size();
  std::vector<std::size_t> next_use(n, n);
  std::unordered_map<std::uint32_t, std::size_t> seen;
  for (std::size_t i = n; i-- > 0;) {
    if (const auto later = seen.find(trace.requests[i].object); later != seen.end()) {
      next_use[i] = later->second;
    }
    seen[trace.requests[i].object] = i;
  }
  std::set<std::pair<std::size_t, std::uint64_t>> by_next_use;  // and bytes
  std::uint64_t bytes = 0;
  Count count(trace);
  for (std::size_t i = 0; i < n; ++i) {
    const Request& r = trace.requests[i];
    if (by_next_use.erase({i, r.bytes}) > 0) {
      bytes -= r.bytes;
      count.Hit(r);
    }
    if (next_use[i] == n) continue;
    by_next_use.emplace(next_use[i], r.bytes);
    for (bytes += r.bytes; bytes > trace.capacity_bytes;) {
      const auto farthest = std::prev(by_next_use.end());
      bytes -= farthest->second;
      by_next_use.erase(farthest);
    }
  }
  return count.Ratio();
}

HitRatio MeasureBound(const Trace& trace) {
  struct Hit {
    double bytes;
    double wait;  // since the last request
  };
  std::vector<Hit> hits;
  std::unordered_map<std::uint32_t, std::size_t> last;
  double bytes_requested = 0;
  for (std::size_t i = 0; i < trace.requests.size(); ++i) {
    const Request& r = trace.requests[i];
    const auto bytes = static_cast<double>(r.bytes);
    bytes_requested += bytes;
    const auto [at, first] = last.emplace(r.object, i);
    if (!first) hits.push_back({bytes, static_cast<double>(i - std::exchange(at->second, i))});
  }
  const auto requests = static_cast<double>(trace.requests.size());
  const double budget = static_cast<double>(trace.capacity_bytes) * requests;
  // The knapsack's relaxation: by cost for each unit of value, and a part of the last one.
  const auto fill = [&](auto value) {
    std::sort(hits.begin(), hits.end(), [&](const Hit& a, const Hit& b) {
      return a.bytes * a.wait / value(a) < b.bytes * b.wait / value(b);
    });
    double spent = 0;
    double sum = 0;
    for (const Hit& hit : hits) {
      const double cost = hit.bytes * hit.wait;
      sum += value(hit) * std::min(1.0, (budget - spent) / cost);
      if ((spent += cost) >= budget) break;
    }
    return sum;
  };
  return {.objects = fill([](const Hit&) { return 1.0; }) / requests,
          .bytes = fill([](const Hit& hit) { return hit.bytes; }) / bytes_requested};
}

}  // namespace ds::ipc_proxy_cache
