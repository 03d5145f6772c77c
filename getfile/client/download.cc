#include "getfile/client/download.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "common/base/check.h"
#include "common/base/parse.h"

namespace ds::getfile {

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  CHECK(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;

void Sha256::Update(std::string_view bytes) {
  CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
}

std::string Sha256::FinishHex() {
  unsigned char raw[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  CHECK(EVP_DigestFinal_ex(context_->evp, raw, &size) == 1);
  return ToHex({reinterpret_cast<const char*>(raw), size});
}

absl::StatusOr<DownloadFolder> DownloadFolder::Open(const std::string& path,
                                                    std::optional<Digests> digests) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return InvalidArgument(fmt::format("create folder \"{}\": {}", path, error.message()));
  }
  auto root = fs::RootedDir::Open(path);
  if (!root.ok()) return InvalidArgument(Message(root.status()));
  return DownloadFolder(std::move(root).value(), std::move(digests));
}

absl::StatusOr<std::string> DownloadFolder::NameOf(const std::string& request_path) {
  const std::size_t begin = request_path.find_first_not_of('/');
  if (begin == std::string::npos || request_path.back() == '/') {
    return Error(absl::StatusCode::kFailedPrecondition, "the path has no file name to save under");
  }
  std::string name = request_path.substr(begin);
  for (std::string_view rest = name; !rest.empty();) {
    const std::string_view component = rest.substr(0, rest.find('/'));
    if (component == "..") {
      return Error(absl::StatusCode::kFailedPrecondition,
                   "refused: a path with \"..\" is not saved");
    }
    rest.remove_prefix(std::min(component.size() + 1, rest.size()));
  }
  if (name == "." || name.ends_with("/.")) {
    return Error(absl::StatusCode::kFailedPrecondition, "the path has no file name to save under");
  }
  return name;
}

absl::Status DownloadFolder::CheckDigest(const std::string& name, const std::string& digest) const {
  CHECK(digests_.has_value());
  const auto listed = digests_->find(name);
  if (listed == digests_->end()) {
    return Error(absl::StatusCode::kDataLoss, "verify: not in the list of digests");
  }
  if (listed->second != digest) {
    return Error(absl::StatusCode::kDataLoss,
                 fmt::format("verify: SHA-256 is {}, expected {}", digest, listed->second));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Download>> Download::Create(const DownloadFolder* folder,
                                                           const std::string& request_path) {
  ASSIGN_OR_RETURN(std::string name, DownloadFolder::NameOf(request_path));
  const std::size_t slash = name.rfind('/');
  const std::string parent_name = slash == std::string::npos ? "" : name.substr(0, slash);
  const std::string file_name = slash == std::string::npos ? name : name.substr(slash + 1);
  ASSIGN_OR_RETURN(UniqueFd parent, folder->root().MakeFolders(parent_name));
  ASSIGN_OR_RETURN(fs::AtomicFile file, fs::AtomicFile::Create(parent.get(), file_name));
  return std::unique_ptr<Download>(
      new Download(folder, std::move(name), std::move(parent), std::move(file)));
}

Download::Download(const DownloadFolder* folder, std::string name, UniqueFd parent,
                   fs::AtomicFile file)
    : folder_(folder), name_(std::move(name)), parent_(std::move(parent)), file_(std::move(file)) {
  if (folder_->verifies()) digest_.emplace();
}

absl::Status Download::Write(std::string_view bytes) {
  if (digest_) digest_->Update(bytes);
  return file_.Write(bytes);
}

absl::Status Download::Finish() {
  if (digest_) RETURN_IF_ERROR(folder_->CheckDigest(name_, digest_->FinishHex()));
  // Cached is enough: after a loss of power the file can be fetched again.
  return file_.Commit(fs::AtomicFile::Durability::kCached);
}

}  // namespace ds::getfile
