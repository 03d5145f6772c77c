#include "common/load/cpu_time.h"

#include <ctime>

#include "common/base/check.h"

namespace ds::load {

double CpuSeconds() {
  timespec time{};
  CHECK(::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

}  // namespace ds::load
