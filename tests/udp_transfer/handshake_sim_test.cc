#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/explore.h"
#include "tests/sim/link.h"
#include "tests/sim/scheduler.h"
#include "udp_transfer/core/connection.h"
#include "udp_transfer/core/discovery.h"
#include "udp_transfer/core/hello.h"
#include "udp_transfer/seal/cookie_jar.h"
#include "udp_transfer/seal/key_schedule.h"
#include "udp_transfer/seal/sealer.h"

// Hello, cookie, initials and what follows, with a key, sealed and opened as by the programs.

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kContentBytes = 20'000;
constexpr std::size_t kTagBytes = 16;
constexpr std::array<std::byte, 32> kSecret{std::byte{5}};
constexpr std::byte kContent{0x5a};

std::uint8_t TypeOf(std::span<const std::byte> datagram) {
  return datagram.empty() ? std::uint8_t{0} : std::to_integer<std::uint8_t>(datagram.front());
}

template <std::size_t kSize>
std::array<std::byte, kSize> Draw(Rng& rng) {
  std::array<std::byte, kSize> bytes;
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(rng.Below(256));
  return bytes;
}

/// A connection with its seals: what SealedLink is with sockets.
struct Sealed {
  Sealed(const Connection::Options& options, const DirectionKey& in_key,
         const DirectionKey& out_key, TimePoint now)
      : connection(options, now), in(in_key), out(out_key) {}

  bool Handle(std::vector<std::byte>& datagram, TimePoint now) {
    const auto number = connection.PacketNumber(datagram);
    if (!number) return false;
    const std::size_t header =
        TypeOf(datagram) == kInitialType ? kInitialHeaderBytes : kPacketHeaderBytes;
    const auto opened = in.Open(*number, header, datagram);
    if (!opened) return false;
    connection.HandleDatagram(*opened, *number, now);
    return true;
  }
  void Send(sim::Link& link, TimePoint now) {
    std::vector<std::byte> buffer(2000);
    connection.HandleTimeout(now);
    while (const auto transmit = connection.PollTransmit(buffer, now)) {
      const auto datagram = std::span(buffer).first(transmit->size + kTagBytes);
      out.Seal(transmit->packet_number,
               transmit->initial ? kInitialHeaderBytes : kPacketHeaderBytes, datagram);
      link.Send(datagram);
    }
  }

  Connection connection;
  Sealer in;
  Sealer out;
};

Connection::Options OptionsOf(Connection::Role role, std::uint64_t id) {
  Connection::Options options;
  options.role = role;
  options.id = id;
  options.tag_bytes = kTagBytes;
  options.send_buffer = options.receive_buffer = Connection::kFirstLimit;
  options.datagram_max = 1200;
  options.seed = id;
  return options;
}

class World {
 public:
  World(std::uint64_t seed, const sim::Link::Options& link)
      : scheduler(seed),
        to_server(scheduler, link,
                  [this](std::vector<std::byte> datagram) { ServerReceives(std::move(datagram)); }),
        to_client(scheduler, link,
                  [this](std::vector<std::byte> datagram) { ClientReceives(std::move(datagram)); }),
        discovery_({.mode = Discovery::Mode::kFast, .timeout = 60s, .classic = {}},
                   scheduler.now()) {
    hello_.connection_id = seed;
    hello_.client_random = Draw<16>(scheduler.rng());
    tags_.Write(TaggedHelloBytes(hello_), hello_.tag);
    PumpClient();
    LookForCookie();
  }

  sim::RunResult Run() {
    scheduler.Run(scheduler.now() + 300s);
    if (!client_ || !server_) {
      scheduler.Fail("no connection");
    } else if (!client_->connection.complete() || received_ != kContentBytes) {
      scheduler.Fail(fmt::format("{} bytes arrived", received_));
    } else if (client_->connection.state() != Connection::State::kClosed ||
               client_->connection.close_reason().code != kCloseDone) {
      scheduler.Fail("the client did not end in order");
    }
    return scheduler.Result();
  }

  sim::Scheduler scheduler;
  sim::Link to_server;
  sim::Link to_client;

 private:
  void SendHello() {
    std::array<std::byte, kHelloBytes> out;
    EncodeHello(hello_, out);
    to_server.Send(out);
  }
  /// As the client does while its path seems dead.
  void LookForCookie() {
    if (client_ && client_->connection.state() == Connection::State::kClosed) return;
    if (client_ && client_->connection.NeedsCookie()) SendHello();
    scheduler.After(500ms, [this] { LookForCookie(); });
  }

  void ClientReceives(std::vector<std::byte> datagram) {
    const std::span<const std::byte> bytes(datagram);
    const TimePoint now = scheduler.now();
    if (TypeOf(bytes) == kCookieType) {
      const auto cookie = DecodeCookie(bytes);
      if (!cookie ||
          !tags_.Matches(bytes.first(kCookieDatagramBytes - kHelloTagBytes), cookie->tag)) {
        return;
      }
      if (!client_) {
        if (!cookie_) cookie_ = cookie;
        discovery_.HandleCookie(now);
      } else if (client_->connection.NeedsCookie()) {
        client_->connection.HandleCookie(
            {hello_.client_random, cookie->server_random, cookie->cookie});
      }
    } else if (TypeOf(bytes) == kResetType) {
      scheduler.Fail("reset: the server could not open what the client sealed");
    } else if (client_) {
      client_->Handle(datagram, now);
    }
    PumpClient();
  }

  void PumpClient() {
    const TimePoint now = scheduler.now();
    if (!client_) {
      std::vector<std::byte> out(65'507);
      discovery_.HandleTimeout(now);
      while (const auto datagram = discovery_.PollTransmit(out, now)) SendHello();
      if (discovery_.outcome() == Discovery::Outcome::kFast) StartClient();
    }
    std::optional<TimePoint> deadline = discovery_.NextDeadline();
    if (client_) {
      Connection& connection = client_->connection;
      if (connection.complete()) connection.Close(kCloseDone, "", now);
      client_->Send(to_server, now);
      deadline = connection.NextDeadline();
    }
    Arm(&client_timer_, deadline, [this] { PumpClient(); });
  }
  void StartClient() {
    Connection::Options options = OptionsOf(Connection::Role::kClient, hello_.connection_id);
    options.initial = {hello_.client_random, cookie_->server_random, cookie_->cookie};
    options.peer_limit = cookie_->receive_window;
    const ConnectionKeys keys = keys_.Derive(hello_.client_random, cookie_->server_random);
    client_.emplace(options, keys.server_to_client, keys.client_to_server, scheduler.now());
    const auto room = client_->connection.Writable();
    std::fill_n(room.begin(), kContentBytes, kContent);
    client_->connection.Commit(kContentBytes);
    client_->connection.Finish();
  }

  CookieSubject Subject(std::uint64_t id, const InitialFields& fields) const {
    return {.connection_id = id,
            .client_random = fields.client_random,
            .server_random = fields.server_random};
  }
  void ServerReceives(std::vector<std::byte> datagram) {
    const TimePoint now = scheduler.now();
    if (const auto hello = DecodeHello(datagram)) {
      if (tags_.Matches(TaggedHelloBytes(*hello), hello->tag)) SendCookie(*hello);
      return;
    }
    const auto header = DecodeHeader(datagram);
    if (!header) return;
    if (header->initial && !jar_.Check(header->initial->cookie,
                                       Subject(header->connection_id, *header->initial), now)) {
      return;
    }
    if (server_) {
      server_->Handle(datagram, now);
    } else if (header->initial) {
      const ConnectionKeys keys =
          keys_.Derive(header->initial->client_random, header->initial->server_random);
      auto begun =
          std::make_unique<Sealed>(OptionsOf(Connection::Role::kServer, header->connection_id),
                                   keys.client_to_server, keys.server_to_client, now);
      if (!begun->Handle(datagram, now)) return SendReset(header->connection_id);
      if (!jar_.Redeem(header->initial->cookie, now)) return;
      server_ = std::move(begun);
    } else {
      return SendReset(header->connection_id);
    }
    PumpServer();
  }
  void SendCookie(const Hello& hello) {
    CookieMessage answer{.connection_id = hello.connection_id,
                         .server_random = Draw<16>(scheduler.rng()),
                         .receive_window = Connection::kFirstLimit};
    answer.cookie =
        jar_.Make(Subject(hello.connection_id, {hello.client_random, answer.server_random, {}}),
                  scheduler.now());
    std::array<std::byte, kCookieDatagramBytes> out;
    EncodeCookie(answer, out);
    tags_.Write(std::span(out).first<kCookieDatagramBytes - kHelloTagBytes>(), answer.tag);
    EncodeCookie(answer, out);
    to_client.Send(out);
  }
  void SendReset(std::uint64_t id) {
    std::array<std::byte, kResetBytes> out;
    EncodeReset({.connection_id = id}, out);
    to_client.Send(out);
  }
  void PumpServer() {
    Connection& connection = server_->connection;
    while (!connection.Readable().empty()) {
      const auto bytes = connection.Readable();
      if (!std::ranges::all_of(bytes, [](std::byte byte) { return byte == kContent; })) {
        scheduler.Fail("other content");
      }
      received_ += bytes.size();
      connection.Consume(bytes.size());
    }
    if (connection.PeerFinished()) connection.Finish();
    server_->Send(to_client, scheduler.now());
    Arm(&server_timer_, connection.NextDeadline(), [this] { PumpServer(); });
  }

  template <typename Call>
  void Arm(std::optional<sim::Scheduler::EventId>* timer, std::optional<TimePoint> deadline,
           Call call) {
    if (*timer) scheduler.Cancel(**timer);
    timer->reset();
    if (deadline) *timer = scheduler.At(*deadline, call);
  }

  const KeySchedule keys_{"a key that both ends have"};
  HelloSeal tags_{keys_.hello_key()};
  // The client.
  Hello hello_;
  Discovery discovery_;
  std::optional<CookieMessage> cookie_;
  std::optional<Sealed> client_;
  std::optional<sim::Scheduler::EventId> client_timer_;
  // The server.
  CookieJar jar_{kSecret};
  std::unique_ptr<Sealed> server_;
  std::optional<sim::Scheduler::EventId> server_timer_;
  std::uint64_t received_ = 0;
};

/// For a while nothing gets through, one way or both.
struct Outage {
  Duration begin{0};
  Duration length{0};
  bool to_server = false;
  bool to_client = false;
};

sim::RunResult RunHandshake(std::uint64_t seed, const std::vector<Outage>& outages) {
  Rng rng(seed * 104'729);
  sim::Link::Options link;
  link.loss = 0.1 * static_cast<double>(seed % 5);
  link.duplication = 0.2 * static_cast<double>(seed % 3);
  link.delay = rng.Between(1ms, 100ms);
  link.reordering = 0.2;
  link.reordering_delay = link.delay;
  World world(seed, link);
  std::vector<const Outage*> under_way;
  const auto renew = [&] {
    const auto cut = [&](bool Outage::*way) {
      return std::ranges::any_of(under_way, [&](const Outage* outage) { return outage->*way; });
    };
    world.to_server.options().loss = cut(&Outage::to_server) ? 1 : link.loss;
    world.to_client.options().loss = cut(&Outage::to_client) ? 1 : link.loss;
  };
  for (const Outage& outage : outages) {
    world.scheduler.After(outage.begin, [&] {
      under_way.push_back(&outage);
      renew();
    });
    world.scheduler.After(outage.begin + outage.length, [&] {
      std::erase(under_way, &outage);
      renew();
    });
  }
  return world.Run();
}

TEST(HandshakeSimTest, AKeyedConnectionComesAboutWhateverGetsLost) {
  const sim::Experiment<Outage> experiment{
      .draw_faults =
          [](Rng& rng) {
            std::vector<Outage> outages(rng.Below(4));
            for (Outage& outage : outages) {
              outage.begin = rng.Between(0ms, 1s);
              outage.length = rng.Between(50ms, 4s);
              outage.to_server = rng.Bernoulli(0.6);
              outage.to_client = !outage.to_server || rng.Bernoulli(0.5);
            }
            return outages;
          },
      .run = RunHandshake,
      .describe =
          [](const Outage& outage) {
            return fmt::format("outage{}{} from {:.3f} s, for {:.3f} s",
                               outage.to_server ? " to the server" : "",
                               outage.to_client ? " to the client" : "", ToSeconds(outage.begin),
                               ToSeconds(outage.length));
          }};
  const auto found = sim::Explore(experiment, sim::SeedsFromEnvironment(500));
  EXPECT_TRUE(found.ok) << found.report;
}

}  // namespace
}  // namespace ds::udp_transfer
