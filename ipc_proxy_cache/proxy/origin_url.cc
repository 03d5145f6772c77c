#include "ipc_proxy_cache/proxy/origin_url.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "common/base/parse.h"
#include "getfile/core/http_text.h"

namespace ds::ipc_proxy_cache {
namespace {

using Url = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string PartOf(const Url& url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, flags) != CURLUE_OK) return {};
  std::string copy(text);
  curl_free(text);
  return copy;
}

std::string WithoutDotSegments(std::string_view path) {
  std::vector<std::string_view> segments;
  bool folder = false;  // the last segment was a dot segment
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const std::string_view segment = path.substr(0, path.find('/'));
    path.remove_prefix(segment.size());
    folder = segment == "." || segment == "..";
    if (!folder) segments.push_back(segment);
    if (segment == ".." && !segments.empty()) segments.pop_back();
  }
  std::string result;
  for (const std::string_view segment : segments) result.append("/").append(segment);
  if (folder || result.empty()) result += '/';
  return result;
}

/// What may stand in a query (RFC 3986 section 3.4) stays as it is: it is the client's own.
std::string EncodedQuery(std::string_view query) {
  std::string result;
  for (const char c : query) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && c != '#' && c != '"' && c != '<' && c != '>') {
      result += c;
    } else {
      result += fmt::format("%{:02X}", byte);
    }
  }
  return result;
}

}  // namespace

absl::StatusOr<OriginUrl> OriginUrl::Parse(const std::string& text) {
  const auto refuse = [&](const char* why) {
    return InvalidArgument(fmt::format("origin \"{}\": {}", EscapeBytes(text), why));
  };
  const Url url(curl_url(), &curl_url_cleanup);
  const std::string whole = text.find("://") == std::string::npos ? "http://" + text : text;
  // libcurl would take the first segment of the path for a host that is missing.
  if (whole.substr(whole.find("://") + 3).starts_with('/')) return refuse("no host");
  if (curl_url_set(url.get(), CURLUPART_URL, whole.c_str(), CURLU_PATH_AS_IS) != CURLUE_OK) {
    return refuse("not a URL");
  }
  const std::string scheme = PartOf(url, CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return refuse("neither http nor https");
  if (!PartOf(url, CURLUPART_USER).empty()) return refuse("a user is not supported");
  if (text.find_first_of("?#") != std::string::npos) return refuse("a query or a fragment");
  std::string host = PartOf(url, CURLUPART_HOST);
  std::ranges::transform(host, host.begin(), getfile::Lower);
  if (host.empty()) return refuse("no host");
  const std::string port = PartOf(url, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
  std::string base = PartOf(url, CURLUPART_PATH);
  while (base.ends_with('/')) base.pop_back();
  return OriginUrl(scheme + "://" + host + (port.empty() ? "" : ":" + port) + base);
}

std::string OriginUrl::Of(std::string_view path, std::string_view query) const {
  return text_ + PercentEncodePath(WithoutDotSegments(path)) + EncodedQuery(query);
}

}  // namespace ds::ipc_proxy_cache
