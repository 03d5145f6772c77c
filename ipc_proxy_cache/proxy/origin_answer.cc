#include "ipc_proxy_cache/proxy/origin_answer.h"

#include <algorithm>

#include "common/base/http_date.h"
#include "common/base/parse.h"
#include "getfile/core/http_text.h"

namespace ds::ipc_proxy_cache {

std::vector<HttpField> FieldsOf(std::string_view lines) {
  std::vector<HttpField> fields;
  while (!lines.empty()) {
    std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    getfile::FieldLine field;
    if (getfile::SplitField(line, &field) == nullptr) fields.push_back({field.name, field.value});
  }
  return fields;
}

std::optional<std::uint64_t> LengthOf(std::span<const HttpField> fields) {
  if (FindField(fields, "transfer-encoding")) return std::nullopt;
  const auto field = FindField(fields, "content-length");
  return field ? ParseDecimal(*field) : std::nullopt;
}

getfile::ContentFields ContentFieldsOf(const StoredFieldsView& stored) {
  getfile::ContentFields fields;
  fields.content_type = stored.content_type;
  fields.etag = stored.etag;
  fields.last_modified = stored.last_modified;
  fields.modified_unix_s = ParseFieldDate(stored.last_modified);
  fields.date = FormatHttpDate(stored.date_unix_s);
  fields.further = stored.further;
  return fields;
}

}  // namespace ds::ipc_proxy_cache
