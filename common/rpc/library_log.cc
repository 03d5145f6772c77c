#include "common/rpc/library_log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

#include <mutex>
#include <string>
#include <string_view>

namespace ds::rpc {

void CatchLibraryLogs() {
  static std::once_flag once;
  std::call_once(once, [] {
    gpr_set_log_function([](gpr_log_func_args* line) {
      // Then it aborts.
      const bool last_words =
          std::string_view(line->message).find("assertion failed") != std::string_view::npos;
      spdlog::log(last_words ? spdlog::level::critical : spdlog::level::debug, "gRPC: {}:{}: {}",
                  line->file, line->line, line->message);
    });
    google::protobuf::SetLogHandler(
        [](google::protobuf::LogLevel level, const char* file, int line, const std::string& text) {
          spdlog::log(level == google::protobuf::LOGLEVEL_FATAL ? spdlog::level::critical
                                                                : spdlog::level::debug,
                      "protobuf: {}:{}: {}", file, line, text);
        });
  });
}

}  // namespace ds::rpc
