#include "common/daemon/metrics.h"

#include <dirent.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

namespace ds::daemon {
namespace {

/// The process_* metrics that every Prometheus client library exports.
void CollectProcess(MetricsPage& page) {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  page.Count("process_cpu_seconds_total", "User and system CPU time in seconds.",
             seconds(usage.ru_utime) + seconds(usage.ru_stime));
  if (const std::unique_ptr<std::FILE, int (*)(std::FILE*)> statm(
          std::fopen("/proc/self/statm", "re"), &std::fclose);
      statm != nullptr) {
    unsigned long long total = 0;
    unsigned long long resident = 0;
    if (std::fscanf(statm.get(), "%llu %llu", &total, &resident) == 2) {
      page.Gauge("process_resident_memory_bytes", "Resident memory size in bytes.",
                 static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE)));
    }
  }
  if (const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), &::closedir);
      folder != nullptr) {
    double count = 0;
    // readdir is thread-safe for distinct streams.
    while (const dirent* entry = ::readdir(folder.get())) {  // NOLINT(concurrency-mt-unsafe)
      count += entry->d_name[0] == '.' ? 0 : 1;
    }
    page.Gauge("process_open_fds", "Number of open file descriptors.", count - 1);
  }
}

}  // namespace

prometheus::ClientMetric& MetricsPage::Add(const std::string& name, const std::string& help,
                                           prometheus::MetricType type, const Labels& labels) {
  auto family = std::find_if(families_.begin(), families_.end(),
                             [&](const auto& candidate) { return candidate.name == name; });
  if (family == families_.end()) {
    family = families_.insert(families_.end(), prometheus::MetricFamily{name, help, type, {}});
  }
  auto& metric = family->metric.emplace_back();
  for (const auto& [key, value] : labels) metric.label.push_back({key, value});
  return metric;
}

void MetricsPage::Count(const std::string& name, const std::string& help, double value,
                        const Labels& labels) {
  Add(name, help, prometheus::MetricType::Counter, labels).counter.value = value;
}

void MetricsPage::Gauge(const std::string& name, const std::string& help, double value,
                        const Labels& labels) {
  Add(name, help, prometheus::MetricType::Gauge, labels).gauge.value = value;
}

void MetricsPage::Histogram(const std::string& name, const std::string& help,
                            const std::vector<const LogHistogram*>& parts, double units_per_base) {
  auto& out = Add(name, help, prometheus::MetricType::Histogram, {}).histogram;
  std::uint64_t cumulative = 0;
  for (std::size_t i = 0; i < LogHistogram::kBuckets; ++i) {
    for (const auto* part : parts) cumulative += part->count(i);
    const bool last = i + 1 == LogHistogram::kBuckets;
    out.bucket.push_back(
        {cumulative, last ? INFINITY : std::ldexp(1.0, static_cast<int>(i)) / units_per_base});
  }
  out.sample_count = cumulative;
  for (const auto* part : parts) out.sample_sum += static_cast<double>(part->sum());
  out.sample_sum /= units_per_base;
}

Metrics::Registration Metrics::Register(Collector collector) {
  const MutexLock lock(mutex_);
  collectors_.emplace_back(next_id_, std::move(collector));
  return Registration(this, next_id_++);
}

void Metrics::Unregister(std::uint64_t id) {
  const MutexLock lock(mutex_);
  std::erase_if(collectors_, [&](const auto& entry) { return entry.first == id; });
}

std::string Metrics::Text() {
  MetricsPage page;
  CollectProcess(page);
  {
    const MutexLock lock(mutex_);
    for (const auto& [id, collector] : collectors_) collector(page);
  }
  return prometheus::TextSerializer().Serialize(page.families());
}

}  // namespace ds::daemon
