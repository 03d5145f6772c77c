#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ipc_proxy_cache/core/key_hash.h"

namespace ds::ipc_proxy_cache {

/// One request of a trace. An object has the same size each time.
struct Request {
  std::uint32_t object = 0;
  std::uint64_t bytes = 0;
};

struct Trace {
  std::string name;
  std::uint64_t capacity_bytes = 0;  ///< of the caches that it is given to
  std::vector<Request> requests;
};

/// SplitMix64: small, seeded, the same everywhere.
class TraceRng {
 public:
  explicit TraceRng(std::uint64_t seed) : state_(seed) {}
  std::uint64_t Next();
  double Unit() { return static_cast<double>(Next() >> 11U) * 0x1p-53; }  ///< in [0, 1)

 private:
  std::uint64_t state_;
};

/// How the sizes of a trace's objects are spread.
enum class Sizes {
  kEqual,      ///< 16 KiB each
  kLognormal,  ///< 16 KiB in the median, sigma 1.5, 256 bytes to 8 MiB; whatever the popularity
};

/// `requests` of objects whose popularity is rank^-`skew` (Zipf); the cache holds a tenth of the
/// catalogue's bytes.
Trace ZipfTrace(double skew, Sizes sizes, std::size_t requests, std::uint64_t seed);
/// The same; every third request is of a scan: runs of objects that are never asked for again.
Trace ScanTrace(double skew, Sizes sizes, std::size_t requests, std::uint64_t seed);
/// All objects in turn, again and again, a tenth more than the cache holds.
Trace LoopTrace(Sizes sizes, std::size_t requests);
/// Zipf; four times in the trace other objects become the popular ones.
Trace ShiftTrace(double skew, Sizes sizes, std::size_t requests, std::uint64_t seed);
/// News: a stream of new objects, each asked for some times soon after it appeared, then never.
Trace NewsTrace(Sizes sizes, std::size_t requests, std::uint64_t seed);
/// All of them, with several exponents and both kinds of sizes.
std::vector<Trace> AllTraces(std::size_t requests, std::uint64_t seed);

/// What a cache is told for an object.
KeyHash KeyOf(std::uint32_t object);

/// Shares of the requests, and of the bytes requested, that a cache had.
struct HitRatio {
  double objects = 0;
  double bytes = 0;
};

HitRatio MeasureTinyLfu(const Trace& trace);
HitRatio MeasureLru(const Trace& trace);
/// Belady's MIN, which may pass objects by: evicts what is used farthest in the future, whatever
/// its size. The optimum when sizes are equal, else only a good clairvoyant policy.
HitRatio MeasureMin(const Trace& trace);
/// More than any policy can reach, whatever the sizes: PFOO-U (Berger, Beckmann, Harchol-Balter,
/// "Practical Bounds on Optimal Caching with Variable Object Sizes", 2018). A hit costs
/// bytes x the time since the last request; the cheapest are taken while the sum is at most
/// capacity x the length of the trace. Each ratio has its own bound.
HitRatio MeasureBound(const Trace& trace);

}  // namespace ds::ipc_proxy_cache
