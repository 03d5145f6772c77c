#pragma once

#include <prometheus/metric_family.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/counter.h"
#include "common/base/mutex.h"

namespace ds::daemon {

using Labels = std::vector<std::pair<std::string, std::string>>;

/// The page a collector fills at each scrape; families keep the order of the calls. Calls with the
/// same name join one family.
class MetricsPage {
 public:
  void Count(const std::string& name, const std::string& help, double value,
             const Labels& labels = {});
  void Gauge(const std::string& name, const std::string& help, double value,
             const Labels& labels = {});
  /// The sum of `parts`, recorded in units of 1/`units_per_base` of the base unit (1e9 for
  /// nanoseconds shown as seconds).
  void Histogram(const std::string& name, const std::string& help,
                 const std::vector<const LogHistogram*>& parts, double units_per_base);

  const std::vector<prometheus::MetricFamily>& families() const { return families_; }

 private:
  prometheus::ClientMetric& Add(const std::string& name, const std::string& help,
                                prometheus::MetricType type, const Labels& labels);
  std::vector<prometheus::MetricFamily> families_;
};

/// Who is asked at a scrape. Thread-safe. A program's hot paths keep single-writer counters and a
/// collector sums them; nothing here is touched by a request.
class Metrics {
 public:
  using Collector = std::function<void(MetricsPage&)>;

  /// Removes its collector when destroyed; no call is under way after that.
  class Registration {
   public:
    Registration() = default;
    Registration(Metrics* metrics, std::uint64_t id) : metrics_(metrics), id_(id) {}
    Registration(Registration&& other) noexcept
        : metrics_(std::exchange(other.metrics_, nullptr)), id_(other.id_) {}
    Registration& operator=(Registration&& other) noexcept {
      std::swap(metrics_, other.metrics_);
      std::swap(id_, other.id_);
      return *this;
    }
    ~Registration() {
      if (metrics_ != nullptr) metrics_->Unregister(id_);
    }

   private:
    Metrics* metrics_ = nullptr;
    std::uint64_t id_ = 0;
  };

  [[nodiscard]] Registration Register(Collector collector);

  /// Everything in the Prometheus text format, process metrics included.
  std::string Text();

 private:
  void Unregister(std::uint64_t id);

  Mutex mutex_;
  std::uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::vector<std::pair<std::uint64_t, Collector>> collectors_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ds::daemon
