#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/rpc/channel.h"
#include "common/rpc/server.h"
#include "common/rpc/status.h"
#include "proto/compute/v1/text.grpc.pb.h"

namespace ds::rpc {

using compute::v1::ReverseRequest;
using compute::v1::ReverseResponse;

/// A service that echoes texts, or does what a test says. A call of which `hold` is true is
/// answered by ReleaseAll() only, or when it is cancelled.
class EchoService : public compute::v1::Text::CallbackService {
 public:
  std::function<grpc::Status(grpc::CallbackServerContext*, const ReverseRequest&)> answer;
  std::atomic<bool> hold{false};

  grpc::ServerUnaryReactor* Reverse(grpc::CallbackServerContext* context,
                                    const ReverseRequest* request,
                                    ReverseResponse* response) override {
    response->set_text(request->text());
    auto* call = new Call(this);
    if (hold) {
      const std::lock_guard lock(mutex_);
      held_.push_back(call);
      most_held_ = std::max(most_held_, held_.size());
    } else {
      call->Finish(answer ? answer(context, *request) : grpc::Status::OK);
    }
    return call;
  }

  std::size_t held() const {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }
  std::size_t most_held() const {
    const std::lock_guard lock(mutex_);
    return most_held_;
  }
  std::size_t cancelled() const { return cancelled_; }
  /// Answers the calls that are held now.
  void ReleaseAll() {
    const std::lock_guard lock(mutex_);
    for (Call* call : std::exchange(held_, {})) call->Finish(grpc::Status::OK);
  }

 private:
  class Call : public grpc::ServerUnaryReactor {
   public:
    explicit Call(EchoService* service) : service_(service) {}
    void OnCancel() override {
      const std::lock_guard lock(service_->mutex_);
      if (std::erase(service_->held_, this) == 0) return;
      ++service_->cancelled_;
      Finish(grpc::Status::CANCELLED);
    }
    void OnDone() override { delete this; }

   private:
    EchoService* const service_;
  };

  mutable std::mutex mutex_;
  std::vector<Call*> held_;
  std::size_t most_held_ = 0;
  std::atomic<std::size_t> cancelled_{0};
};

/// An EchoService behind a Server: on both loopback addresses, or on `host`.
struct EchoServer {
  explicit EchoServer(const ServerOptions& options = {}, daemon::Metrics* metrics = nullptr,
                      std::vector<grpc::Service*> more = {}, std::uint16_t port = 0,
                      const std::string& host = "") {
    std::vector<net::Listener> listeners;
    if (host.empty()) {
      auto both = net::ListenLoopback(port);
      CHECK(both.ok(), Message(both.status()));
      listeners = std::move(*both);
    } else {
      const auto endpoints = net::Endpoint::Resolve({host, port});
      CHECK(endpoints.ok(), Message(endpoints.status()));
      auto one = net::ListenTcp(endpoints->front());
      CHECK(one.ok(), Message(one.status()));
      listeners.push_back(std::move(*one));
    }
    more.push_back(&service);
    auto started = Server::Start(options, std::move(listeners), more, metrics);
    CHECK(started.ok(), Message(started.status()));
    server = std::move(*started);
  }

  std::string address() const { return server->listen().front().ToString(); }
  std::uint16_t port() const { return server->listen().front().port(); }

  EchoService service;
  std::unique_ptr<Server> server;
};

/// A client of an EchoService.
struct EchoClient {
  explicit EchoClient(const std::string& target, const ChannelOptions& options = {}) {
    auto made = MakeChannel(target, options);
    CHECK(made.ok(), Message(made.status()));
    channel = std::move(*made);
    stub = compute::v1::Text::NewStub(channel);
  }

  /// What comes back.
  absl::StatusOr<std::string> Echo(const std::string& text,
                                   Duration timeout = std::chrono::seconds(30)) {
    CallContext context(timeout);
    ReverseRequest request;
    request.set_text(text);
    ReverseResponse response;
    RETURN_IF_ERROR(FromGrpc(stub->Reverse(context.get(), request, &response)));
    return response.text();
  }

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<compute::v1::Text::Stub> stub;
};

}  // namespace ds::rpc
