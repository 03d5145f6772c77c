#include "common/base/http_date.h"

#include "absl/time/time.h"

namespace ds {

std::string FormatHttpDate(std::int64_t unix_seconds) {
  return absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::FromUnixSeconds(unix_seconds),
                          absl::UTCTimeZone());
}

std::optional<std::int64_t> ParseHttpDate(std::string_view text) {
  const absl::string_view input(text.data(), text.size());
  for (const char* form :
       {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"}) {
    absl::Time time;
    if (absl::ParseTime(form, input, &time, nullptr)) return absl::ToUnixSeconds(time);
  }
  return std::nullopt;
}

}  // namespace ds
