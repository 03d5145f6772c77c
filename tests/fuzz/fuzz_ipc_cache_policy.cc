#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/check.h"
#include "ipc_proxy_cache/core/cache_control.h"
#include "ipc_proxy_cache/core/cache_policy.h"
#include "ipc_proxy_cache/core/continuation.h"

using namespace ds::ipc_proxy_cache;  // NOLINT(google-build-using-namespace)
using std::chrono::seconds;

namespace {

constexpr std::int64_t kNow = 784111777;
constexpr int kStatuses[] = {200, 404, 301, 302, 403, 500, 410, 206};

/// "Name: value" in each line.
std::vector<HttpField> Fields(std::string_view lines) {
  std::vector<HttpField> fields;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    const std::size_t colon = std::min(line.find(':'), line.size());
    fields.push_back({line.substr(0, colon), line.substr(std::min(colon + 1, line.size()))});
  }
  return fields;
}

void CheckBounds(const CacheDecision& decision) {
  constexpr seconds kMax{std::int64_t{1} << 31U};
  for (const seconds value : {decision.age, decision.lifetime, decision.stale_while_revalidate,
                              decision.stale_if_error}) {
    CHECK(value >= seconds(0) && value <= kMax);
  }
  CHECK((decision.storing == Storing::kStore) == std::string_view(decision.reason).empty());
  if (decision.must_revalidate) {
    CHECK(decision.stale_while_revalidate == seconds(0) && decision.stale_if_error == seconds(0));
  }
}

/// No text that parses hides what stands behind it.
void CheckCacheControl(std::string_view text) {
  CacheControl control;
  control.Add(text);
  if (control.malformed) return;
  CacheControl longer;
  longer.Add(std::string(text) + ", no-store, max-age=0");
  CHECK(longer.no_store && longer.max_age == seconds(0) && !longer.malformed);
}

}  // namespace

/// The first byte chooses the status; then a head, an empty line, and the head of a 304.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data + 1), size - 1);
  const std::size_t end = std::min(input.find("\n\n"), input.size());
  const std::vector<HttpField> fields = Fields(input.substr(0, end));
  const std::vector<HttpField> later = Fields(input.substr(std::min(end + 2, input.size())));
  CheckCacheControl(input);
  for (const HttpField& field : fields) CheckCacheControl(field.value);

  OriginAnswer answer{.status = kStatuses[data[0] % std::size(kStatuses)],
                      .fields = fields,
                      .requested_unix_s = kNow - data[0],
                      .received_unix_s = kNow};
  const CachePolicyOptions options{.stale_if_error = seconds(5)};
  const CacheDecision decision = DecideCaching(answer, options);
  CheckBounds(decision);
  answer.authorized = true;
  CHECK(DecideCaching(answer, options).storing <= decision.storing);
  answer.authorized = false;

  // Whatever else was said, no-store is obeyed, and no more than the whole head twice allows.
  std::vector<HttpField> more = fields;
  more.insert(more.end(), fields.begin(), fields.end());
  answer.fields = more;
  const CacheDecision twice = DecideCaching(answer, options);
  CHECK(twice.storing <= decision.storing);
  if (twice.storing != Storing::kPass) CHECK(twice.lifetime == decision.lifetime);
  more.push_back({"Cache-Control", "private"});
  answer.fields = more;
  CHECK(DecideCaching(answer, options).storing == Storing::kPass);
  CheckBounds(Restrict(decision, twice));

  const StoredFields kept = KeepFields(200, kNow, fields);
  CHECK(ValidateStoredFields(View(kept)).ok());
  const auto bytes = EncodeStoredFields(View(kept));
  if (!bytes) return 0;
  const auto read = DecodeStoredFields(*bytes);
  CHECK(read && *read == View(kept));
  CHECK(ConditionalFields(*read).size() <= 2);
  if (const auto rest = Continuation::Of(*bytes, 5, 10)) {
    CHECK(!rest->IsAnsweredBy(200, later));
    (void)rest->IsAnsweredBy(206, later);
  }
  answer.status = 304;
  answer.fields = later;
  if (const auto refreshed = Refresh(*read, answer, options)) {
    CheckBounds(refreshed->decision);
    CHECK(ValidateStoredFields(View(refreshed->fields)).ok());
    CHECK(refreshed->fields.content_type == kept.content_type);
  }
  return 0;
}
