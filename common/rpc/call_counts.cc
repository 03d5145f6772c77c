#include "common/rpc/call_counts.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor_database.h>

#include <set>
#include <vector>

#include "common/base/check.h"

namespace ds::rpc {
namespace {

constexpr int kUnknown = 2;
constexpr const char* kOther = "other";
constexpr std::array<const char*, CallCounts::kCodes> kCodeNames = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

bool IsWatcher(std::string_view method) {
  return method.starts_with("/grpc.health.") || method.starts_with("/grpc.reflection.");
}

/// The methods that this program has code for, by their full names.
std::set<std::string, std::less<>> FindKnownMethods() {
  // gRPC's own, of which the health service is made without generated code.
  std::set<std::string, std::less<>> known = {
      "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"};
  // By file: the pool keeps every name that it was asked for in vain, and peers can ask for many.
  using google::protobuf::DescriptorPool;
  std::vector<std::string> files;
  CHECK(DescriptorPool::internal_generated_database()->FindAllFileNames(&files));
  for (const std::string& name : files) {
    const auto* const file = DescriptorPool::generated_pool()->FindFileByName(name);
    CHECK(file != nullptr, name);
    for (int i = 0; i < file->service_count(); ++i) {
      const auto& service = *file->service(i);
      for (int j = 0; j < service.method_count(); ++j) {
        known.insert("/" + service.full_name() + "/" + service.method(j)->name());
      }
    }
  }
  return known;
}

bool IsKnown(std::string_view method) {
  static const auto* const known = new std::set(FindKnownMethods());
  return known->contains(method);
}

}  // namespace

std::string CodeName(int code) {
  CHECK(code >= 0 && static_cast<std::size_t>(code) < kCodeNames.size());
  return kCodeNames[static_cast<std::size_t>(code)];
}

void CallCounts::Method::End(int code) {
  const bool known = code >= 0 && static_cast<std::size_t>(code) < kCodes;
  ended_[static_cast<std::size_t>(known ? code : kUnknown)].fetch_add(1, std::memory_order_relaxed);
  open_.fetch_sub(1, std::memory_order_relaxed);
}

CallCounts::Method& CallCounts::Of(std::string_view method) {
  if (!IsKnown(method)) method = kOther;
  const MutexLock lock(mutex_);
  const auto found = methods_.find(method);
  return found != methods_.end() ? found->second : methods_[std::string(method)];
}

CallCounts::Open CallCounts::open() const {
  const MutexLock lock(mutex_);
  Open open;
  for (const auto& [name, method] : methods_) {
    (IsWatcher(name) ? open.watchers : open.calls) += method.open_.load(std::memory_order_relaxed);
  }
  return open;
}

void CallCounts::Collect(const std::string& prefix, daemon::MetricsPage& page) const {
  const MutexLock lock(mutex_);
  for (const auto& [name, method] : methods_) {
    for (std::size_t code = 0; code < kCodes; ++code) {
      const std::uint64_t ended = method.ended_[code].load(std::memory_order_relaxed);
      if (ended == 0) continue;
      page.Count(prefix + "_calls_total", "Calls that have ended, by method and status code",
                 static_cast<double>(ended), {{"method", name}, {"code", kCodeNames[code]}});
    }
  }
  for (const auto& [name, method] : methods_) {
    page.Gauge(prefix + "_calls_open", "Calls under way, by method",
               static_cast<double>(method.open_.load(std::memory_order_relaxed)),
               {{"method", name}});
  }
}

}  // namespace ds::rpc
