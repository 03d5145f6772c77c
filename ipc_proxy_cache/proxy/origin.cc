#include "ipc_proxy_cache/proxy/origin.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <array>
#include <limits>
#include <utility>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "getfile/core/http_text.h"

namespace ds::ipc_proxy_cache {
namespace {

constexpr std::size_t kHeadBytesMax = 65536;
constexpr long kRedirectsMax = 5;

void Set(CURL* easy, CURLoption option, auto value) {
  CHECK(curl_easy_setopt(easy, option, value) == CURLE_OK, "an option that libcurl has");
}

void Set(CURLM* multi, CURLMoption option, auto value) {
  CHECK(curl_multi_setopt(multi, option, value) == CURLM_OK, "an option that libcurl has");
}

/// The status code of a line "HTTP/1.1 302 Found"; 0 if there is none.
int CodeOf(std::string_view status_line) {
  const std::size_t blank = status_line.find(' ');
  if (blank == std::string_view::npos) return 0;
  const auto code = ParseDecimal(status_line.substr(blank + 1, 3));
  return static_cast<int>(code.value_or(0));
}

/// The status that a finished transfer stands for.
absl::Status StatusOf(CURLcode code, const char* text, const std::string& url) {
  if (code == CURLE_OK) return absl::OkStatus();
  absl::StatusCode kind = absl::StatusCode::kDataLoss;
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
      kind = absl::StatusCode::kUnavailable;
      break;
    case CURLE_OPERATION_TIMEDOUT:
      kind = absl::StatusCode::kDeadlineExceeded;
      break;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_TOO_MANY_REDIRECTS:
      kind = absl::StatusCode::kInvalidArgument;
      break;
    default:
      break;
  }
  return Error(
      kind, fmt::format("fetch \"{}\": {}", url, *text != '\0' ? text : curl_easy_strerror(code)));
}

}  // namespace

/// One transfer: libcurl's handle, what was asked of it from outside its callbacks, and its time
/// limits. Owned by the client until libcurl has let go of it.
class OriginFetch::Transfer final : public net::EventLoop::Timer {
 public:
  Transfer(OriginClient* client, const OriginRequest& request, OriginSink* sink, OriginFetch* fetch)
      : client_(client), url_(request.url), sink_(sink), fetch_(fetch), easy_(curl_easy_init()) {
    CHECK(easy_ != nullptr, "out of memory");
    for (const std::string& field : request.fields) {
      fields_ = curl_slist_append(fields_, field.c_str());
    }
    const OriginOptions& options = client_->options_;
    // What the URL may be is decided here, not by ~/.netrc, $http_proxy or the URL itself.
    Set(easy_, CURLOPT_PROTOCOLS_STR, "http,https");
    Set(easy_, CURLOPT_REDIR_PROTOCOLS_STR, url_.starts_with("https:") ? "https" : "http,https");
    Set(easy_, CURLOPT_FOLLOWLOCATION, 1L);
    Set(easy_, CURLOPT_MAXREDIRS, kRedirectsMax);
    Set(easy_, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    Set(easy_, CURLOPT_PROXY, "");
    Set(easy_, CURLOPT_NOSIGNAL, 1L);
    Set(easy_, CURLOPT_PATH_AS_IS, 1L);
    Set(easy_, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
    // To wait for a connection that may turn out to be HTTP/2. Without TLS it never does, and
    // libcurl would wait for the end of the transfer that has it.
    Set(easy_, CURLOPT_PIPEWAIT, url_.starts_with("https:") ? 1L : 0L);
    Set(easy_, CURLOPT_USERAGENT, "getfile-proxy");
    Set(easy_, CURLOPT_CONNECTTIMEOUT_MS,
        static_cast<long>(
            std::chrono::duration_cast<std::chrono::milliseconds>(options.connect_timeout)
                .count()));
    if (!options.ca_file.empty()) Set(easy_, CURLOPT_CAINFO, options.ca_file.c_str());
    if (request.head) Set(easy_, CURLOPT_NOBODY, 1L);
    Set(easy_, CURLOPT_HTTPHEADER, fields_);
    Set(easy_, CURLOPT_URL, url_.c_str());
    Set(easy_, CURLOPT_PRIVATE, static_cast<void*>(this));
    Set(easy_, CURLOPT_ERRORBUFFER, error_.data());
    Set(easy_, CURLOPT_HEADERDATA, static_cast<void*>(this));
    Set(easy_, CURLOPT_HEADERFUNCTION, &Transfer::OnHeaderLine);
    Set(easy_, CURLOPT_WRITEDATA, static_cast<void*>(this));
    Set(easy_, CURLOPT_WRITEFUNCTION, &Transfer::OnBodyBytes);
  }
  ~Transfer() override {
    client_->loop_->Cancel(this);
    if (added_) curl_multi_remove_handle(client_->multi_, easy_);
    curl_easy_cleanup(easy_);
    curl_slist_free_all(fields_);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /// Does what was asked for; called outside libcurl's callbacks. False: it is over.
  bool Act() {
    woken = false;
    if (timed_out_) {
      Finish(Error(absl::StatusCode::kDeadlineExceeded,
                   fmt::format("fetch \"{}\": no byte for too long", url_)));
    }
    if (sink_ == nullptr) return false;
    if (!added_) {
      added_ = true;
      CHECK(curl_multi_add_handle(client_->multi_, easy_) == CURLM_OK, "a handle of its own");
      const OriginOptions& options = client_->options_;
      client_->loop_->Arm(
          this, client_->loop_->now() + options.connect_timeout + options.first_byte_timeout);
    }
    if (resumed_) {
      resumed_ = false;
      if (paused_) {
        paused_ = false;
        NoteBytes();
        curl_easy_pause(easy_, CURLPAUSE_CONT);
      }
    }
    return true;
  }
  bool woken = false;                                    ///< in the client's list
  std::list<std::unique_ptr<Transfer>>::iterator place;  ///< in the client's list of all

  void Abandon() {
    sink_ = nullptr;
    fetch_ = nullptr;
    client_->Wake(this);
  }
  void SetSink(OriginSink* sink) { sink_ = sink; }
  void Resume() {
    resumed_ = true;
    client_->Wake(this);
  }
  void HandleResult(CURLcode code) {
    if (code == CURLE_OK && !head_whole_) {
      return Finish(Error(absl::StatusCode::kDataLoss,
                          fmt::format("fetch \"{}\": the head of the answer broke off", url_)));
    }
    long request_bytes = 0;
    curl_easy_getinfo(easy_, CURLINFO_REQUEST_SIZE, &request_bytes);
    if (code == CURLE_UNSUPPORTED_PROTOCOL && request_bytes > 0 && !head_begun_) {
      code = CURLE_WEIRD_SERVER_REPLY;  // it is the answer that is no HTTP
    }
    if (sink_ != nullptr && code == CURLE_OK) TellHead();
    Finish(StatusOf(code,
                    head_too_long_   ? "a head of more than 64 KiB"
                    : length_is_bad_ ? "a Content-Length that is none"
                                     : error_.data(),
                    url_));
  }

 private:
  static std::size_t OnHeaderLine(char* bytes, std::size_t, std::size_t size, void* self) {
    return static_cast<Transfer*>(self)->HandleHeaderLine({bytes, size}) ? size : 0;
  }
  static std::size_t OnBodyBytes(char* bytes, std::size_t, std::size_t size, void* self) {
    return static_cast<Transfer*>(self)->HandleBody({bytes, size});
  }

  /// Also sees the heads of interim answers and of redirects, each beginning with a status line,
  /// and the trailer of a chunked body.
  bool HandleHeaderLine(std::string_view line) {
    NoteBytes();
    if (sink_ == nullptr) return false;
    if (head_told_) return true;
    if (line.starts_with("HTTP/")) {
      if (head_.code >= 300 && head_.code < 400) {
        head_.redirects.push_back({head_.code, std::move(head_.fields)});
      }
      head_.code = CodeOf(line);
      head_.fields.clear();
      length_.clear();
      encoded_ = false;
      head_begun_ = true;
      head_whole_ = false;
      return true;
    }
    if (head_whole_) return true;  // a trailer, of a body without bytes or of a redirect
    if (line == "\r\n" || line == "\n") {
      head_whole_ = true;
      return true;
    }
    if (head_.fields.size() + line.size() > kHeadBytesMax) {
      head_too_long_ = true;
      return false;
    }
    head_.fields += line;
    return NoteFraming(line);
  }
  /// libcurl would take a length that is none for no length, and the last of several: then what is
  /// there at the end of the stream would pass for a whole body (RFC 9112 section 6.3).
  bool NoteFraming(std::string_view line) {
    getfile::FieldLine field;
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (getfile::SplitField(line, &field) != nullptr) return true;
    encoded_ |= getfile::EqualsIgnoringCase(field.name, "transfer-encoding");
    if (!getfile::EqualsIgnoringCase(field.name, "content-length")) return true;
    const auto length = ParseDecimal(field.value);
    length_is_bad_ = !length || *length > std::numeric_limits<std::int64_t>::max() ||
                     (!length_.empty() && length_ != field.value);
    length_ = field.value;
    return !length_is_bad_;
  }
  std::size_t HandleBody(std::string_view bytes) {
    NoteBytes();
    TellHead();
    if (sink_ == nullptr) return 0;  // given up meanwhile
    if (sink_->OnBody(bytes)) return sink_ == nullptr ? 0 : bytes.size();
    if (sink_ == nullptr) return 0;
    paused_ = true;
    client_->loop_->Cancel(this);  // who is not read cannot be slow
    return CURL_WRITEFUNC_PAUSE;
  }
  void TellHead() {
    if (head_told_) return;
    head_told_ = true;
    long code = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &code);
    head_.code = static_cast<int>(code);
    long version = 0;
    curl_easy_getinfo(easy_, CURLINFO_HTTP_VERSION, &version);
    head_.until_close = length_.empty() && !encoded_ && version <= CURL_HTTP_VERSION_1_1;
    sink_->OnHead(head_);
  }

  /// Nothing follows; the transfer itself goes away with its next Act().
  void Finish(absl::Status status) {
    client_->Wake(this);
    if (sink_ == nullptr) return;
    OriginSink* const sink = std::exchange(sink_, nullptr);
    std::exchange(fetch_, nullptr)->transfer_ = nullptr;
    sink->OnEnd(std::move(status));
  }

  void NoteBytes() {
    client_->loop_->Arm(this, client_->loop_->now() + client_->options_.stall_timeout);
  }
  void OnTimer() override {
    timed_out_ = true;
    client_->Wake(this);
  }

  OriginClient* const client_;
  const std::string url_;
  OriginSink* sink_;    ///< null: nobody waits any more
  OriginFetch* fetch_;  ///< null with it
  CURL* const easy_;
  curl_slist* fields_ = nullptr;
  std::array<char, CURL_ERROR_SIZE> error_{};
  OriginHead head_;
  bool head_begun_ = false;  ///< a status line was there, of a redirect perhaps
  bool head_whole_ = false;  ///< the last one came to its empty line
  bool head_told_ = false;
  bool head_too_long_ = false;
  std::string length_;  ///< what Content-Length said in this head
  bool length_is_bad_ = false;
  bool encoded_ = false;  ///< Transfer-Encoding is in this head
  bool added_ = false;
  bool paused_ = false;
  bool resumed_ = false;
  bool timed_out_ = false;
};

OriginFetch::~OriginFetch() {
  if (transfer_ != nullptr) transfer_->Abandon();
}

void OriginFetch::Resume() {
  if (transfer_ != nullptr) transfer_->Resume();
}

void OriginFetch::SetSink(OriginSink* sink) {
  if (transfer_ != nullptr) transfer_->SetSink(sink);
}

/// A socket of libcurl's in the loop; level triggered, as libcurl expects.
struct OriginClient::Watched final : net::EventLoop::Watcher {
  Watched(OriginClient* owner, int descriptor) : client(owner), fd(descriptor) {}
  void OnEvents(std::uint32_t events) override {
    int what = 0;
    if ((events & EPOLLIN) != 0) what |= CURL_CSELECT_IN;
    if ((events & EPOLLOUT) != 0) what |= CURL_CSELECT_OUT;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) what |= CURL_CSELECT_ERR;
    client->Act(fd, what);  // may destroy this
  }

  static int OnSocket(CURL*, curl_socket_t socket, int what, void* client, void* known) {
    auto* const self = static_cast<OriginClient*>(client);
    auto* watched = static_cast<Watched*>(known);
    if (what == CURL_POLL_REMOVE) {
      if (watched != nullptr) {
        self->loop_->Remove(socket, watched);
        delete watched;
      }
      return 0;
    }
    const std::uint32_t events =
        ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0U) | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0U);
    if (watched != nullptr) {
      self->loop_->Rearm(socket, events, watched);
      return 0;
    }
    watched = new Watched(self, socket);
    if (!self->loop_->Add(socket, events, watched).ok()) {  // out of epoll watches
      delete watched;
      return -1;
    }
    curl_multi_assign(self->multi_, socket, watched);
    return 0;
  }
  static int OnTimeout(CURLM*, long timeout_ms, void* client) {
    auto* const self = static_cast<OriginClient*>(client);
    if (timeout_ms < 0) {
      self->loop_->Cancel(self);
    } else {
      self->loop_->Arm(self, self->loop_->now() + std::chrono::milliseconds(timeout_ms));
    }
    return 0;
  }

  OriginClient* const client;
  const int fd;
};

absl::StatusOr<std::unique_ptr<OriginClient>> OriginClient::Create(net::EventLoop* loop,
                                                                   OriginOptions options) {
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialized != CURLE_OK) {
    return Unavailable(fmt::format("libcurl: {}", curl_easy_strerror(initialized)));
  }
  std::unique_ptr<OriginClient> client(new OriginClient(loop, std::move(options)));
  if (client->multi_ == nullptr) return Unavailable("libcurl: no memory");
  return client;
}

OriginClient::OriginClient(net::EventLoop* loop, OriginOptions options)
    : loop_(loop), options_(std::move(options)), multi_(curl_multi_init()) {
  if (multi_ == nullptr) return;
  Set(multi_, CURLMOPT_SOCKETFUNCTION, &Watched::OnSocket);
  Set(multi_, CURLMOPT_SOCKETDATA, static_cast<void*>(this));
  Set(multi_, CURLMOPT_TIMERFUNCTION, &Watched::OnTimeout);
  Set(multi_, CURLMOPT_TIMERDATA, static_cast<void*>(this));
  Set(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(options_.idle_max));
}

OriginClient::~OriginClient() {
  transfers_.clear();
  if (multi_ != nullptr) curl_multi_cleanup(multi_);
  loop_->Cancel(this);
  loop_->CancelDefer(this);
}

std::unique_ptr<OriginFetch> OriginClient::Begin(const OriginRequest& request, OriginSink* sink) {
  std::unique_ptr<OriginFetch> fetch(new OriginFetch(nullptr));
  transfers_.push_back(std::make_unique<Transfer>(this, request, sink, fetch.get()));
  Transfer* const transfer = transfers_.back().get();
  transfer->place = std::prev(transfers_.end());
  fetch->transfer_ = transfer;
  Wake(transfer);
  return fetch;
}

void OriginClient::Wake(Transfer* transfer) {
  if (transfer->woken) return;
  transfer->woken = true;
  if (woken_.empty()) loop_->Defer(this);
  woken_.push_back(transfer);
}

void OriginClient::OnEvents(std::uint32_t) {
  for (Transfer* const transfer : std::exchange(woken_, {})) {
    // What it did may have woken it again: then it is in the list, and looked at once more.
    if (!transfer->Act() && !transfer->woken) transfers_.erase(transfer->place);
  }
  TakeResults();
}

void OriginClient::OnTimer() { Act(CURL_SOCKET_TIMEOUT, 0); }

void OriginClient::Act(int socket, int events) {
  int running = 0;
  curl_multi_socket_action(multi_, socket, events, &running);
  TakeResults();
}

void OriginClient::TakeResults() {
  int left = 0;
  while (const CURLMsg* const message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;  // gone with the next call
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    transfer->HandleResult(code);
  }
}

}  // namespace ds::ipc_proxy_cache
