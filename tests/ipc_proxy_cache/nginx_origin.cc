#include "tests/ipc_proxy_cache/nginx_origin.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "common/base/check.h"
#include "tests/harness/deadline.h"
#include "tests/harness/eventually.h"
#include "tests/harness/raw_peer.h"
#include "tests/ipc_proxy_cache/tls_origin.h"

namespace ds::ipc_proxy_cache {
namespace {

constexpr std::uint16_t kPort = 8080;
constexpr std::uint16_t kTlsPort = 8443;

std::string NginxPath() {
  for (const char* const path : {"/usr/sbin/nginx", "/usr/local/sbin/nginx"}) {
    if (std::ifstream(path).good()) return path;
  }
  return "nginx";
}

/// With `files` for every $files.
std::string Substituted(std::string text, const std::string& files) {
  constexpr std::string_view kName = "$files";
  for (std::size_t at = 0; (at = text.find(kName, at)) != std::string::npos;) {
    text.replace(at, kName.size(), files);
  }
  return text;
}

std::string Configuration(const std::string& folder, const std::string& host,
                          const NginxOrigin::Options& options) {
  std::string redirects;
  for (int n = 1; n <= 7; ++n) {
    redirects +=
        n == 1 ? std::string("location ~ ^/to/1(/.*)$ { return 302 $1; }\n")
               : fmt::format("location ~ ^/to/{}(/.*)$ {{ return 302 /to/{}$1; }}\n", n, n - 1);
  }
  std::string statuses;
  for (const int status : {403, 404, 410, 500, 503}) {
    statuses += fmt::format("location = /status/{0} {{ return {0}; }}\n", status);
  }
  const std::string tls = options.tls ? fmt::format(R"(
listen {0}:{1} ssl;
ssl_certificate {2}/cert.pem;
ssl_certificate_key {2}/key.pem;
location /to-plain/ {{ return 302 http://{0}:{3}/; }}
location /to-tls/ {{ return 302 https://{0}:{1}/; }}
)",
                                                    host, kTlsPort, folder, kPort)
                                      : "";
  // One process, so that killing it kills the origin.
  return fmt::format(R"(daemon off;
master_process off;
worker_rlimit_nofile 8192;
pid {0}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4000; }}
http {{
log_format fetches '$status $request_uri $body_bytes_sent "$http_range" "$http_if_none_match"';
access_log {0}/access.log fetches;
client_body_temp_path {0}/tmp;
proxy_temp_path {0}/tmp;
fastcgi_temp_path {0}/tmp;
uwsgi_temp_path {0}/tmp;
scgi_temp_path {0}/tmp;
types {{ }}
default_type application/octet-stream;
server_tokens off;
tcp_nodelay on;
sendfile on;
keepalive_requests 1000000;
server {{
listen {1}:{2} backlog=1024;
absolute_redirect off;
root {0}/files;
location /slow/ {{ alias {0}/files/; limit_rate 1000000; }}
location /chunked/ {{
  alias {0}/files/;
  sub_filter_types *;
  sub_filter 'these bytes are in no file of a test' '';
}}
{3}
{4}
location = /to/loop {{ return 302 /to/loop; }}
location = /drop {{ return 444; }}
location = /settled {{ access_log off; return 204; }}
{5}
{6}
}}
}}
)",
                     folder, host, kPort, redirects, statuses, tls,
                     Substituted(options.locations, folder + "/files"));
}

std::string Unquoted(std::string text) {
  if (text.size() >= 2 && text.front() == '"') text = text.substr(1, text.size() - 2);
  return text;
}

}  // namespace

NginxOrigin::NginxOrigin(Options options) {
  folder_.Write("files/index.html", "");
  folder_.Write("access.log", "");
  folder_.Write("nginx.conf", Configuration(folder_.path(), lease_.address(0), options));
  if (options.tls) MakeCertificate(folder_, lease_.address(0));
  Start();
}

void NginxOrigin::Start() {
  process_ = std::make_unique<testing::ToolProcess>(
      NginxPath(), std::vector<std::string>{"-p", folder_.path(), "-e", "stderr", "-c",
                                            folder_.path("nginx.conf")});
  const absl::Status started = process_->Start();
  CHECK(started.ok(), "nginx is needed (see scripts/bootstrap.sh): " + Message(started));
  const bool up = testing::Eventually(testing::kDeadline, "nginx answers", [&] {
    CHECK(process_->running(), "nginx: " + process_->err());
    return testing::RawPeer::Connect(lease_.address(0), kPort).ok();
  });
  CHECK(up, "nginx: " + process_->err());
}

void NginxOrigin::Kill() {
  process_->Signal(SIGKILL);
  process_->Wait();
}

std::string NginxOrigin::url() const {
  return fmt::format("http://{}:{}", lease_.address(0), kPort);
}

std::string NginxOrigin::tls_url() const {
  return fmt::format("https://{}:{}", lease_.address(0), kTlsPort);
}

void NginxOrigin::Write(const std::string& name, std::string_view bytes) const {
  const std::string made = folder_.Write("new/" + name, bytes);
  const std::string final = folder_.path("files/" + name);
  // The folders of the name, if there are any.
  if (name.find('/') != std::string::npos) folder_.Write("files/" + name, "");
  CHECK(std::rename(made.c_str(), final.c_str()) == 0);
}

void NginxOrigin::Remove(const std::string& name) const {
  CHECK(std::remove(folder_.path("files/" + name).c_str()) == 0);
}

std::vector<OriginAccess> NginxOrigin::Log() const {
  // nginx writes the line of a request after the last byte of its answer. It has one thread: when
  // it answers this, it is done with every answer that anybody has received.
  if (process_->running()) {
    testing::RawPeer::Exchange(lease_.address(0), kPort,
                               "GET /settled HTTP/1.0\r\nHost: origin\r\n\r\n");
  }
  std::vector<OriginAccess> log;
  std::istringstream text(folder_.Read("access.log"));
  for (std::string line; std::getline(text, line);) {
    if (text.eof()) break;  // not whole yet
    std::istringstream fields(line);
    OriginAccess access;
    fields >> access.status >> access.target >> access.bytes >> access.range >> access.condition;
    access.range = Unquoted(access.range);
    access.condition = Unquoted(access.condition);
    log.push_back(std::move(access));
  }
  return log;
}

std::size_t NginxOrigin::Fetches(std::string_view target) const {
  const auto log = Log();
  return static_cast<std::size_t>(std::ranges::count_if(
      log, [&](const OriginAccess& access) { return access.target == target; }));
}

}  // namespace ds::ipc_proxy_cache
