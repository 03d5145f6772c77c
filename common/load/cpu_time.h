#pragma once

namespace ds::load {

/// User and system time of this process, all its threads.
double CpuSeconds();

}  // namespace ds::load
