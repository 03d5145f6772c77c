#include "tests/sim/history.h"

namespace ds::sim {

std::string_view Name(OperationEnd end) {
  switch (end) {
    case OperationEnd::kReturned:
      return "returned";
    case OperationEnd::kUnknown:
      return "unknown";
    case OperationEnd::kFailed:
      return "failed";
  }
  CHECK(false);
}

}  // namespace ds::sim
