#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace ds::ipc_proxy_cache {

/// A field line of HTTP; the name's case does not matter.
struct HttpField {
  std::string_view name;
  std::string_view value;
};
struct OwnedHttpField {
  std::string name;
  std::string value;

  friend bool operator==(const OwnedHttpField&, const OwnedHttpField&) = default;
};

/// What HTTP says about a stored object, as it lies in the object's record: opaque to the cache's
/// memory, written once, read at each hit. Text is empty where the origin said nothing.
template <typename Text>
struct BasicStoredFields {
  std::uint16_t status = 200;
  std::int64_t date_unix_s = 0;  ///< the origin's Date, else when the answer was received
  Text content_type{};
  Text etag{};           ///< as in the field: quoted, W/ if it is weak
  Text last_modified{};  ///< as in the field
  Text further{};        ///< other fields for clients: lines "Name: value\r\n"

  friend bool operator==(const BasicStoredFields&, const BasicStoredFields&) = default;
};
using StoredFields = BasicStoredFields<std::string>;
/// Points into the bytes it was decoded from.
using StoredFieldsView = BasicStoredFields<std::string_view>;

inline StoredFieldsView View(const StoredFields& fields) {
  return {fields.status, fields.date_unix_s,   fields.content_type,
          fields.etag,   fields.last_modified, fields.further};
}

/// Of an encoded block. A head that needs more is not stored.
inline constexpr std::size_t kStoredFieldsBytesMax = 8192;

/// Version u16 (1), status u16, date i64, lengths u16 of the four texts in the order above,
/// all little endian; then the texts. Nothing if that is more than kStoredFieldsBytesMax.
std::optional<std::string> EncodeStoredFields(const StoredFieldsView& fields);

/// Of exactly one block; checks that it is whole, in constant time. Nothing if it is not one.
std::optional<StoredFieldsView> DecodeStoredFields(std::string_view bytes);

/// Whether the texts can stand in an answer: nothing in them ends a line or a field but what has
/// to. kInvalidArgument if not.
absl::Status ValidateStoredFields(const StoredFieldsView& fields);

/// Both: for whoever takes a block that another process may have made. Nothing if it is not one.
std::optional<StoredFieldsView> DecodeForeignFields(std::string_view bytes);

/// What is kept of an answer's head (RFC 9111 section 3.1): all but what concerns one connection,
/// what is written anew for each client (Age, Date, Content-Length, Accept-Ranges, Server),
/// cookies, and lines that are not well formed. Several lines of one name stay several, except
/// those with a place of their own, of which the first counts.
StoredFields KeepFields(int status, std::int64_t received_unix_s,
                        std::span<const HttpField> fields);

/// The lines of `further`, and the fields with a place of their own. Views into `stored`.
std::vector<HttpField> ListFields(const StoredFieldsView& stored);

/// The first field of that name.
std::optional<std::string_view> FindField(std::span<const HttpField> fields, std::string_view name);

/// A date of HTTP (RFC 9110 section 5.6.7), seconds since 1970, within the years 1970 to 9999.
std::optional<std::int64_t> ParseFieldDate(std::string_view text);

}  // namespace ds::ipc_proxy_cache
