#include "getfile/server/server.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "common/net/socket.h"
#include "getfile/server/file_source.h"

namespace ds::getfile {
namespace {

constexpr std::size_t kOpenFilesMax = 1024;  // cached, in all workers together

}  // namespace

absl::StatusOr<daemon::Started> Server::Start(const ServerOptions& options, const Front::Bind& bind,
                                              daemon::Metrics* metrics) {
  std::unique_ptr<Server> server(new Server(options));
  ASSIGN_OR_RETURN(server->tree_, server->LoadTree());
  const unsigned workers = WorkerCount(options.front);
  const std::size_t open_files = std::min(kOpenFilesMax, net::RaiseDescriptorLimit() / 8) / workers;
  const auto make_source = [&](net::EventLoop* loop) {
    auto source = std::make_unique<FileSource>(
        loop, server->tree_,
        FileSource::Options{.revalidate = FromSeconds(options.revalidate_s),
                            .open_files_max = open_files});
    server->sources_.push_back(source.get());
    return source;
  };
  ASSIGN_OR_RETURN(server->front_,
                   Front::Start(options.front, {.metrics_prefix = "getfile_",
                                                .descriptors_reserved = open_files * workers,
                                                .bind = bind,
                                                .make_source = make_source,
                                                .metrics = metrics}));
  daemon::Started started;
  started.listen = server->front_->listen();
  started.service = std::move(server);
  return started;
}

absl::StatusOr<std::shared_ptr<const FileTree>> Server::LoadTree() const {
  return options_.content_file.empty() ? FileTree::FromRoot(options_.root, options_.dot_files)
                                       : FileTree::FromContentFile(options_.content_file);
}

void Server::Reload() {
  if (!options_.content_file.empty()) {
    if (auto tree = LoadTree(); tree.ok()) {
      tree_ = std::move(tree).value();
      for (std::size_t i = 0; i < sources_.size(); ++i) {
        front_->Post(i, [source = sources_[i], fresh = tree_] { source->SetTree(fresh); });
      }
      spdlog::info("reload: content file read again");
    } else {
      spdlog::error("reload: the old content stays: {}", Message(tree.status()));
    }
  }
  front_->ReopenAccessLog();
}

}  // namespace ds::getfile
