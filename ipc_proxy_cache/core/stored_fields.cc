#include "ipc_proxy_cache/core/stored_fields.h"

#include <algorithm>
#include <array>
#include <set>

#include "common/base/http_date.h"
#include "getfile/core/http_text.h"

namespace ds::ipc_proxy_cache {
namespace {

using getfile::EqualsIgnoringCase;
using getfile::IsFieldValue;
using getfile::IsToken;

constexpr std::uint64_t kVersion = 1;
constexpr std::size_t kHeadBytes = 20;
constexpr std::size_t kTexts = 4;
constexpr std::int64_t kYear9999UnixS = 253402300799;
constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kColon = ": ";

/// Fields that are not kept: of one connection (RFC 9110 section 7.6.1), of one transfer, or
/// written anew for each client.
constexpr std::string_view kNotKept[] = {"accept-ranges",
                                         "age",
                                         "connection",
                                         "content-length",
                                         "content-range",
                                         "date",
                                         "keep-alive",
                                         "proxy-authenticate",
                                         "proxy-authentication-info",
                                         "proxy-authorization",
                                         "proxy-connection",
                                         "server",
                                         "set-cookie",
                                         "set-cookie2",
                                         "te",
                                         "trailer",
                                         "transfer-encoding",
                                         "upgrade"};

void AppendNumber(std::string* out, std::uint64_t number, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) out->push_back(static_cast<char>(number >> (8 * i)));
}

std::uint64_t NumberAt(std::string_view bytes, std::size_t at, std::size_t count) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < count; ++i) {
    number |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  }
  return number;
}

std::string Lowercase(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), getfile::Lower);
  return lower;
}

/// The names, in lower case, of fields that are not kept: those above, and what Connection names,
/// which concerns that connection only.
std::set<std::string> NamesNotKept(std::span<const HttpField> fields) {
  std::set<std::string> names(std::begin(kNotKept), std::end(kNotKept));
  for (const HttpField& field : fields) {
    if (!EqualsIgnoringCase(field.name, "connection")) continue;
    getfile::ForEachElement(field.value,
                            [&](std::string_view name) { names.insert(Lowercase(name)); });
  }
  return names;
}

/// "W/" and quotes around bytes that are no quotes, blanks or control bytes (RFC 9110
/// section 8.8.3).
bool IsEtag(std::string_view text) {
  if (text.starts_with("W/")) text.remove_prefix(2);
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return false;
  text = text.substr(1, text.size() - 2);
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte > 0x20 && byte != 0x7f && c != '"';
  });
}

/// The text of the field with a place of its own, if `name` is one.
std::string* OwnPlace(StoredFields* stored, std::string_view name) {
  if (EqualsIgnoringCase(name, "content-type")) return &stored->content_type;
  if (EqualsIgnoringCase(name, "etag")) return &stored->etag;
  if (EqualsIgnoringCase(name, "last-modified")) return &stored->last_modified;
  return nullptr;
}

/// Takes the next line off `lines`. False if it is not "Name: value\r\n".
bool TakeLine(std::string_view* lines, HttpField* field) {
  const std::size_t end = lines->find(kLineEnd);
  if (end == std::string_view::npos) return false;
  const std::string_view line = lines->substr(0, end);
  lines->remove_prefix(end + kLineEnd.size());
  const std::size_t colon = line.find(kColon);
  if (colon == std::string_view::npos) return false;
  *field = {.name = line.substr(0, colon), .value = line.substr(colon + kColon.size())};
  return IsToken(field->name) && IsFieldValue(field->value);
}

}  // namespace

std::optional<std::string> EncodeStoredFields(const StoredFieldsView& fields) {
  const std::array<std::string_view, kTexts> texts = {fields.content_type, fields.etag,
                                                      fields.last_modified, fields.further};
  std::size_t bytes = kHeadBytes;
  for (const std::string_view text : texts) {
    if (text.size() > kStoredFieldsBytesMax) return std::nullopt;
    bytes += text.size();
  }
  if (bytes > kStoredFieldsBytesMax) return std::nullopt;
  std::string out;
  out.reserve(bytes);
  AppendNumber(&out, kVersion, 2);
  AppendNumber(&out, fields.status, 2);
  AppendNumber(&out, static_cast<std::uint64_t>(fields.date_unix_s), 8);
  for (const std::string_view text : texts) AppendNumber(&out, text.size(), 2);
  for (const std::string_view text : texts) out.append(text);
  return out;
}

std::optional<StoredFieldsView> DecodeStoredFields(std::string_view bytes) {
  if (bytes.size() < kHeadBytes || bytes.size() > kStoredFieldsBytesMax) return std::nullopt;
  if (NumberAt(bytes, 0, 2) != kVersion) return std::nullopt;
  StoredFieldsView fields{.status = static_cast<std::uint16_t>(NumberAt(bytes, 2, 2)),
                          .date_unix_s = static_cast<std::int64_t>(NumberAt(bytes, 4, 8))};
  std::size_t at = kHeadBytes;
  std::size_t length_at = 12;
  for (std::string_view* text :
       {&fields.content_type, &fields.etag, &fields.last_modified, &fields.further}) {
    const std::size_t length = NumberAt(bytes, length_at, 2);
    if (length > bytes.size() - at) return std::nullopt;
    *text = bytes.substr(at, length);
    at += length;
    length_at += 2;
  }
  if (at != bytes.size()) return std::nullopt;
  return fields;
}

absl::Status ValidateStoredFields(const StoredFieldsView& fields) {
  if (fields.status < 100 || fields.status > 599) {
    return InvalidArgument("read stored fields: the status is not one of HTTP");
  }
  if (fields.date_unix_s < 0 || fields.date_unix_s > kYear9999UnixS) {
    return InvalidArgument("read stored fields: the date is not within 1970 to 9999");
  }
  if (!fields.etag.empty() && !IsEtag(fields.etag)) {
    return InvalidArgument("read stored fields: the ETag is malformed");
  }
  if (!IsFieldValue(fields.content_type) || !IsFieldValue(fields.last_modified)) {
    return InvalidArgument("read stored fields: a control byte in a field");
  }
  std::string_view lines = fields.further;
  HttpField field;
  while (!lines.empty()) {
    if (!TakeLine(&lines, &field)) {
      return InvalidArgument("read stored fields: a line is not a field");
    }
  }
  return absl::OkStatus();
}

std::optional<StoredFieldsView> DecodeForeignFields(std::string_view bytes) {
  const auto fields = DecodeStoredFields(bytes);
  return fields && ValidateStoredFields(*fields).ok() ? fields : std::nullopt;
}

StoredFields KeepFields(int status, std::int64_t received_unix_s,
                        std::span<const HttpField> fields) {
  StoredFields kept{.status = static_cast<std::uint16_t>(status),
                    .date_unix_s = std::clamp<std::int64_t>(received_unix_s, 0, kYear9999UnixS)};
  if (const auto date = FindField(fields, "date")) {
    kept.date_unix_s = ParseFieldDate(*date).value_or(kept.date_unix_s);
  }
  const std::set<std::string> not_kept = NamesNotKept(fields);
  for (const HttpField& field : fields) {
    const std::string_view value = getfile::TrimOws(field.value);
    if (!IsToken(field.name) || !IsFieldValue(value)) continue;
    if (not_kept.contains(Lowercase(field.name))) continue;
    if (std::string* const place = OwnPlace(&kept, field.name)) {
      if (place == &kept.etag && !IsEtag(value)) continue;
      if (place->empty()) *place = value;
      continue;
    }
    kept.further.append(field.name).append(kColon).append(value).append(kLineEnd);
  }
  return kept;
}

std::vector<HttpField> ListFields(const StoredFieldsView& stored) {
  std::vector<HttpField> fields;
  if (!stored.content_type.empty()) fields.push_back({"Content-Type", stored.content_type});
  if (!stored.etag.empty()) fields.push_back({"ETag", stored.etag});
  if (!stored.last_modified.empty()) fields.push_back({"Last-Modified", stored.last_modified});
  std::string_view lines = stored.further;
  for (HttpField field; TakeLine(&lines, &field);) fields.push_back(field);
  return fields;
}

std::optional<std::string_view> FindField(std::span<const HttpField> fields,
                                          std::string_view name) {
  for (const HttpField& field : fields) {
    if (EqualsIgnoringCase(field.name, name)) return getfile::TrimOws(field.value);
  }
  return std::nullopt;
}

std::optional<std::int64_t> ParseFieldDate(std::string_view text) {
  const auto date = ParseHttpDate(text);
  if (!date || *date < 0 || *date > kYear9999UnixS) return std::nullopt;
  return date;
}

}  // namespace ds::ipc_proxy_cache
