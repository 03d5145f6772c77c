#include "getfile/client/http_resume.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/base/check.h"
#include "common/base/http_date.h"
#include "common/base/parse.h"
#include "common/fs/atomic_file.h"
#include "common/fs/file_lock.h"
#include "getfile/core/http_answer_parser.h"

namespace ds::getfile {
namespace {

std::string ReadAll(int fd) {
  std::string text;
  char buffer[512];
  ssize_t n = 0;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0 && text.size() < 4096) {
    text.append(buffer, static_cast<std::size_t>(n));
  }
  return text;
}

/// A strong entity tag (RFC 9110 section 8.8.3) or a date: what If-Range may be asked with.
bool IsValidator(std::string_view text) {
  if (ParseHttpDate(text)) return true;
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return false;
  return std::none_of(text.begin() + 1, text.end() - 1,
                      [](char c) { return (c >= 0 && c <= ' ') || c == '"' || c == 0x7F; });
}

}  // namespace

/// One GET with its part file. Called back by libcurl.
class HttpResume::Transfer {
 public:
  Transfer(const HttpResume* owner, Result* result) : owner_(owner), result_(result) {}

  absl::Status OpenPart(const std::string& path) {
    ASSIGN_OR_RETURN(name_, DownloadFolder::NameOf(path));
    const std::size_t slash = name_.rfind('/');
    file_name_ = slash == std::string::npos ? name_ : name_.substr(slash + 1);
    ASSIGN_OR_RETURN(parent_, owner_->folder_->root().MakeFolders(
                                  slash == std::string::npos ? "" : name_.substr(0, slash)));
    const std::string part_name = file_name_ + ".part";
    struct stat info {};
    struct stat named {};
    do {
      part_.Reset(::openat(parent_.get(), part_name.c_str(),
                           O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
      if (!part_) return ErrnoError(fmt::format("open \"{}\"", part_name), errno);
      RETURN_IF_ERROR(fs::LockFile(part_.get(), part_name));
      if (::fstat(part_.get(), &info) != 0) {
        return ErrnoError(fmt::format("stat \"{}\"", part_name), errno);
      }
      // Whoever held the lock before may have finished it: then it has its real name by now, and
      // is not to be touched.
    } while (::fstatat(parent_.get(), part_name.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 ||
             named.st_dev != info.st_dev || named.st_ino != info.st_ino);
    had_ = static_cast<std::uint64_t>(info.st_size);
    const UniqueFd tag(
        ::openat(parent_.get(), TagName().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (tag) validator_ = ReadAll(tag.get());
    if (had_ > 0 && !IsValidator(validator_)) {
      result_->note = "the part has no validator: starting over";
      had_ = 0;
    }
    return absl::OkStatus();
  }

  std::uint64_t had() const { return had_; }
  const std::string& validator() const { return validator_; }

  /// Header lines of the answer, of interim ones in front of it, and of what follows a chunked
  /// body. libcurl does not follow redirects here. False: no HTTP that we would trust.
  bool OnHeader(std::string_view line) {
    parser_.Feed(line);
    return parser_.state() != HttpAnswerParser::State::kMalformed;
  }
  /// Why OnHeader() or OnBody() wanted no more of the answer, as far as it was the head of it.
  absl::Status HeadError() const {
    switch (parser_.state()) {
      case HttpAnswerParser::State::kComplete:
        return absl::OkStatus();
      case HttpAnswerParser::State::kMalformed:
        return Error(absl::StatusCode::kDataLoss,
                     fmt::format("malformed answer: {}", parser_.malformed_because()));
      case HttpAnswerParser::State::kIncomplete:
        break;
    }
    return Error(absl::StatusCode::kDataLoss, "malformed answer: its head has no end");
  }

  bool OnBody(std::string_view bytes) {
    if (!begun_ && !Begin()) return false;
    if (head().code != 200 && head().code != 206) return true;  // the text of an error page
    std::string_view rest = bytes;
    while (!rest.empty()) {
      const ssize_t n = ::pwrite(part_.get(), rest.data(), rest.size(),
                                 static_cast<off_t>(result_->fetch.received));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        result_->fetch.error = ErrnoError(fmt::format("write \"{}.part\"", file_name_), errno);
        return false;
      }
      result_->fetch.received += static_cast<std::uint64_t>(n);
      rest.remove_prefix(static_cast<std::size_t>(n));
    }
    owner_->progress_.received(bytes.size());
    return true;
  }

  bool Interrupted() const {
    pollfd fd{owner_->options_.cancel_fd, POLLIN, 0};
    return owner_->options_.cancel_fd >= 0 && ::poll(&fd, 1, 0) == 1;
  }

  /// The head of the answer is whole: take the old part or begin a new one.
  bool Begin() {
    begun_ = true;
    FetchResult& fetch = result_->fetch;
    if (fetch.error = HeadError(); !fetch.error.ok()) return false;
    if (head().code == 206) {
      if (had_ == 0 || head().range_first != had_) {
        fetch.error = Error(absl::StatusCode::kDataLoss,
                            "the server sent another range than the one asked for");
        return false;
      }
      // If-Range has asked for this already, but not everything on the way heeds it (RFC 9110
      // section 15.3.7.3).
      const std::string& same = validator_.front() == '"' ? head().etag : head().last_modified;
      if (!same.empty() && same != validator_) {
        fetch.error = Error(absl::StatusCode::kDataLoss,
                            "the server sent a part of another version: the next run starts over");
        Discard();
        return false;
      }
      if (head().length_known && head().length != head().range_length) {
        fetch.error = Error(absl::StatusCode::kDataLoss, "the range and its length do not agree");
        return false;
      }
      fetch.received = result_->resumed_from = had_;
    } else if (head().code == 200) {
      if (had_ > 0) result_->note = "the file has changed or has no ranges: starting over";
      if (::ftruncate(part_.get(), 0) != 0 || !WriteTag()) {
        fetch.error = ErrnoError(fmt::format("write \"{}.part\"", file_name_), errno);
        return false;
      }
    } else {
      return true;
    }
    fetch.length = fetch.received + head().length;
    owner_->progress_.expected(head().length);
    return true;
  }

  /// After the whole body has come: verify and put in place.
  void Finish() {
    FetchResult& fetch = result_->fetch;
    if (!begun_ && !Begin()) return;
    switch (head().code) {
      case 206:
        if (head().range_total != fetch.received) {
          fetch.status = AnswerStatus::kOk;
          if (head().range_total) fetch.length = *head().range_total;
          fetch.error =
              Unavailable(head().range_total ? "the server sent less than the rest"
                                             : "the server did not say where the file ends");
          return;
        }
        [[fallthrough]];
      case 200:
        fetch.status = AnswerStatus::kOk;
        break;
      case 403:
      case 404:
      case 410:
        fetch.status = AnswerStatus::kFileNotFound;
        return Discard();
      case 416:
        if (had_ > 0 && head().range_total == had_) {  // all of it had come already
          fetch.received = result_->resumed_from = had_;
          fetch.status = AnswerStatus::kOk;
          break;
        }
        fetch.status = AnswerStatus::kError;
        fetch.error = Error(absl::StatusCode::kDataLoss,
                            "the part does not fit the file: the next run starts over");
        return Discard();
      default:
        fetch.status = AnswerStatus::kError;
        fetch.error = Unavailable(fmt::format("HTTP status {}", head().code));
        if (had_ == 0) Discard();
        return;
    }
    fetch.length = fetch.received;
    if (owner_->folder_->verifies()) {
      fetch.error = Verify();
      if (!fetch.error.ok()) return Discard();
    }
    if (::renameat(parent_.get(), PartName().c_str(), parent_.get(), file_name_.c_str()) != 0) {
      fetch.error = ErrnoError(fmt::format("rename to \"{}\"", file_name_), errno);
      return;
    }
    ::unlinkat(parent_.get(), TagName().c_str(), 0);
  }

  /// Nothing worth keeping.
  void Discard() {
    ::unlinkat(parent_.get(), PartName().c_str(), 0);
    ::unlinkat(parent_.get(), TagName().c_str(), 0);
  }
  bool empty() const { return result_->fetch.received == 0 && had_ == 0; }

 private:
  const HttpAnswerHead& head() const { return parser_.head(); }
  /// What identifies the bytes that are being sent. Weak tags do not promise equal bytes (RFC 9110
  /// section 8.8.1).
  const std::string& FreshValidator() const {
    return IsValidator(head().etag) ? head().etag : head().last_modified;
  }
  std::string PartName() const { return file_name_ + ".part"; }
  std::string TagName() const { return file_name_ + ".part.etag"; }

  bool WriteTag() {
    ::unlinkat(parent_.get(), TagName().c_str(), 0);
    if (!IsValidator(FreshValidator())) return true;
    auto tag = fs::AtomicFile::Create(parent_.get(), TagName());
    return tag.ok() && tag->Write(FreshValidator()).ok() &&
           tag->Commit(fs::AtomicFile::Durability::kCached).ok();
  }

  absl::Status Verify() const {
    Sha256 digest;
    std::string buffer(256U << 10U, '\0');
    off_t offset = 0;
    for (;;) {
      const ssize_t n = ::pread(part_.get(), buffer.data(), buffer.size(), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(fmt::format("read \"{}.part\"", file_name_), errno);
      if (n == 0) break;
      digest.Update({buffer.data(), static_cast<std::size_t>(n)});
      offset += n;
    }
    return owner_->folder_->CheckDigest(name_, digest.FinishHex());
  }

  const HttpResume* const owner_;
  Result* const result_;
  std::string name_;
  std::string file_name_;
  UniqueFd parent_;
  UniqueFd part_;
  std::uint64_t had_ = 0;  ///< bytes in the part that can be continued
  std::string validator_;
  HttpAnswerParser parser_{HttpAnswerParser::Mode::kDownload};
  bool begun_ = false;
};

HttpResume::HttpResume(Options options, const DownloadFolder* folder, FetchProgress progress)
    : options_(std::move(options)),
      folder_(folder),
      progress_(std::move(progress)),
      curl_(curl_easy_init()) {
  CHECK(curl_ != nullptr, "curl_easy_init");
}

HttpResume::~HttpResume() { curl_easy_cleanup(curl_); }

HttpResume::Result HttpResume::Fetch(const std::string& path) {
  Result result;
  Transfer transfer(this, &result);
  if (result.fetch.error = transfer.OpenPart(path); !result.fetch.error.ok()) return result;

  curl_easy_reset(curl_);
  const std::string host =
      options_.host.find(':') == std::string::npos || options_.host.starts_with('[')
          ? options_.host
          : "[" + options_.host + "]";
  const std::string url =
      fmt::format("http://{}:{}{}", host, options_.port, PercentEncodePath(path));
  const long timeout_s = std::max<long>(
      1, static_cast<long>(std::chrono::ceil<std::chrono::seconds>(options_.timeout).count()));
  curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl_, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(curl_, CURLOPT_PROXY, "");
  curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl_, CURLOPT_CONNECTTIMEOUT, timeout_s);
  curl_easy_setopt(curl_, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl_, CURLOPT_LOW_SPEED_TIME, timeout_s);
  curl_easy_setopt(curl_, CURLOPT_HTTP09_ALLOWED, 0L);
  curl_easy_setopt(curl_, CURLOPT_BUFFERSIZE, 256L << 10L);
  using Callback = std::size_t (*)(char*, std::size_t, std::size_t, void*);
  curl_easy_setopt(
      curl_, CURLOPT_HEADERFUNCTION,
      static_cast<Callback>([](char* data, std::size_t size, std::size_t n, void* self) {
        return static_cast<Transfer*>(self)->OnHeader({data, size * n}) ? size * n : 0;
      }));
  curl_easy_setopt(curl_, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(
      curl_, CURLOPT_WRITEFUNCTION,
      static_cast<Callback>([](char* data, std::size_t size, std::size_t n, void* self) {
        return static_cast<Transfer*>(self)->OnBody({data, size * n}) ? size * n : 0;
      }));
  curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &transfer);
  using Progress = int (*)(void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t);
  curl_easy_setopt(
      curl_, CURLOPT_XFERINFOFUNCTION,
      static_cast<Progress>([](void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
        return static_cast<Transfer*>(self)->Interrupted() ? 1 : 0;
      }));
  curl_easy_setopt(curl_, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(curl_, CURLOPT_NOPROGRESS, 0L);
  struct curl_slist* headers = nullptr;
  std::string range;
  if (transfer.had() > 0) {
    headers = curl_slist_append(headers, ("If-Range: " + transfer.validator()).c_str());
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers);
    range = fmt::format("{}-", transfer.had());
    curl_easy_setopt(curl_, CURLOPT_RANGE, range.c_str());
  }
  const CURLcode code = curl_easy_perform(curl_);
  curl_slist_free_all(headers);

  switch (code) {
    case CURLE_OK:
      transfer.Finish();
      break;
    case CURLE_UNSUPPORTED_PROTOCOL:  // an answer that is no HTTP
    case CURLE_WEIRD_SERVER_REPLY:
      result.speaks_http = false;
      if (transfer.empty()) transfer.Discard();
      break;
    case CURLE_ABORTED_BY_CALLBACK:
      result.fetch.error = Error(absl::StatusCode::kCancelled, "interrupted");
      break;
    default:
      if (code == CURLE_WRITE_ERROR && result.fetch.error.ok()) {
        result.fetch.error = transfer.HeadError();
      }
      if (result.fetch.error.ok()) result.fetch.error = Unavailable(curl_easy_strerror(code));
      if (transfer.empty()) transfer.Discard();
      break;
  }
  return result;
}

}  // namespace ds::getfile
