// FileSender and FileReceiver, each alone and against each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "tests/udp_transfer/hex.h"
#include "udp_transfer/core/file_receiver.h"
#include "udp_transfer/core/file_sender.h"

namespace ds::udp_transfer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Good enough to tell contents apart, and 16 bytes long.
std::string DigestOf(std::string_view content) {
  std::string digest(16, '-');
  std::uint64_t hash = 14695981039346656037U;
  for (const char c : content) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  std::memcpy(digest.data(), &hash, sizeof hash);
  return digest;
}

/// The disk of a server.
struct Stored {
  std::map<std::string, std::string> files;
  std::map<std::string, std::string> partial;  ///< by name
  std::vector<std::string> folders;
};

/// Executes a receiver's effects.
class Server {
 public:
  explicit Server(Stored* stored) : stored_(stored) {}

  /// Asked before each effect with a result; an outcome other than kStored is its failure.
  std::function<Outcome()> fate = [] { return Outcome::kStored; };
  std::string broken;
  FileReceiver receiver;

  /// Takes bytes off the front of `stream` until it needs more.
  void Receive(std::string* stream) {
    while (broken.empty()) {
      auto step = receiver.Next(AsBytes(*stream));
      Execute(step.effect);
      const bool nothing = std::holds_alternative<NeedBytes>(step.effect) && step.consumed == 0;
      stream->erase(0, step.consumed);
      if (nothing) return;
    }
  }

 private:
  void Execute(FileReceiver::Effect& effect) {
    if (const auto* wrong = std::get_if<FileReceiver::Broken>(&effect)) {
      broken = wrong->why;
      return;
    }
    if (std::holds_alternative<NeedBytes>(effect)) return;
    if (std::holds_alternative<FileReceiver::Discard>(effect)) {
      stored_->partial.erase(open_.name);
      return;
    }
    if (const auto* open = std::get_if<FileReceiver::OpenFile>(&effect)) open_ = open->open;
    if (const Outcome outcome = fate(); outcome != Outcome::kStored) {
      receiver.Failed(outcome, "fate");
      return;
    }
    std::string& content = stored_->partial[open_.name];
    if (const auto* folder = std::get_if<FileReceiver::MakeFolder>(&effect)) {
      stored_->folders.push_back(folder->open.name);
      receiver.Stored(folder->open.name);
    } else if (std::holds_alternative<FileReceiver::OpenFile>(effect)) {
      if (!open_.resume) content.clear();
      receiver.Opened(content.size(), DigestOf(content));
    } else if (std::holds_alternative<FileReceiver::Restart>(effect)) {
      content.clear();
      receiver.Succeeded();
    } else if (const auto* append = std::get_if<FileReceiver::Append>(&effect)) {
      content.append(reinterpret_cast<const char*>(append->bytes.data()), append->bytes.size());
      receiver.Succeeded();
    } else if (const auto* finish = std::get_if<FileReceiver::Finish>(&effect)) {
      if (finish->digest != DigestOf(content)) {
        receiver.Failed(Outcome::kCorrupt, "digest");
      } else {
        stored_->files[open_.name] = content;
        receiver.Stored(open_.name);
      }
      stored_->partial.erase(open_.name);
    }
  }

  Stored* stored_;
  OpenMessage open_;
};

struct Source {
  std::string name;
  std::string content{};
  bool resume = false;
  bool folder = false;
  std::size_t shrinks_to = std::string::npos;  ///< when it is read
  bool changed = false;                        ///< found at the end
};

/// Sends sources, one after another.
class Client {
 public:
  explicit Client(std::vector<Source> sources) : sources_(std::move(sources)) {}

  FileSender sender;
  std::vector<FileSender::Result> results;
  std::uint64_t content_bytes = 0;  ///< read and put into the stream
  bool finished = false;            ///< the stream has ended

  /// Puts at most `room` bytes into the stream, as much as can be now.
  void Send(std::string* stream, std::size_t room) {
    while (room > 0 && !finished) {
      const auto action = sender.Next();
      if (std::holds_alternative<FileSender::WaitForReply>(action)) return;
      const std::size_t before = stream->size();
      Execute(action, stream, room);
      room -= stream->size() - before;
    }
  }

  void Receive(std::string* stream) {
    const absl::Status status = sender.HandleReplies(AsBytes(*stream));
    ASSERT_TRUE(status.ok()) << status;
    stream->clear();
    for (auto& result : sender.TakeResults()) results.push_back(std::move(result));
  }

 private:
  void Execute(const FileSender::Action& action, std::string* stream, std::size_t room) {
    if (std::holds_alternative<FileSender::Idle>(action)) {
      if (next_ == sources_.size()) {
        finished = true;
        return;
      }
      const Source& source = sources_[next_++];
      OpenMessage open;
      open.kind = source.folder ? EntryKind::kFolder : EntryKind::kFile;
      open.resume = source.resume;
      open.size = source.content.size();
      open.name = source.name;
      EXPECT_EQ(sender.Begin(open), next_ - 1);
      return;
    }
    const Source& source = sources_[next_ - 1];
    const std::string_view now = std::string_view(source.content).substr(0, source.shrinks_to);
    if (const auto* bytes = std::get_if<FileSender::Bytes>(&action)) {
      ASSERT_FALSE(bytes->bytes.empty());
      const auto some = std::string(bytes->bytes.substr(0, room));
      stream->append(some);
      sender.Written(some.size());
    } else if (const auto* content = std::get_if<FileSender::Content>(&action)) {
      ASSERT_GT(content->length, 0U);
      ASSERT_LE(content->offset + content->length, source.content.size());
      if (content->offset >= now.size()) {
        sender.SourceChanged("shrank");
        return;
      }
      const auto some = now.substr(content->offset, std::min<std::size_t>(room, content->length));
      stream->append(some);
      content_bytes += some.size();
      sender.Written(some.size());
    } else if (const auto* compare = std::get_if<FileSender::ComparePrefix>(&action)) {
      sender.PrefixCompared(DigestOf(now.substr(0, compare->offset)) == compare->digest);
    } else if (std::holds_alternative<FileSender::CheckSource>(action)) {
      if (source.changed) {
        sender.SourceChanged("changed");
      } else {
        sender.Finished(DigestOf(now));
      }
    }
  }

  std::vector<Source> sources_;
  std::size_t next_ = 0;
};

/// Both ends with streams between them that move a random number of bytes at a time. Ends when all
/// is answered, or when the client's stream has carried `bytes_max`, as when the connection breaks.
/// False when it came to a standstill before.
[[nodiscard]] bool RunBoth(Client* client, Server* server, Rng& rng,
                           std::uint64_t bytes_max = std::uint64_t{1} << 60U) {
  std::string requests;
  std::string in_flight;
  std::uint64_t carried = 0;
  for (int idle = 0; idle < 1000; ++idle) {
    const std::size_t piece = 1 + rng.Below(rng.Bernoulli(0.5) ? 40 : 300'000);
    std::string sent;
    client->Send(&sent, piece);
    carried += sent.size();
    if (carried > bytes_max) sent.resize(sent.size() - (carried - bytes_max));
    if (!sent.empty()) idle = 0;
    requests += sent;
    server->Receive(&requests);
    if (!server->broken.empty() || carried >= bytes_max) return true;
    // Sometimes the answers take their time.
    if (rng.Bernoulli(0.5)) {
      std::string answers = std::exchange(server->receiver.replies(), "");
      if (!answers.empty()) idle = 0;
      std::string first = answers.substr(0, answers.size() / 2);
      answers.erase(0, first.size());
      client->Receive(&first);
      client->Receive(&answers);
    }
    if (client->finished && client->sender.all_answered() && requests.empty()) {
      EXPECT_TRUE(server->receiver.at_end());
      return true;
    }
  }
  return false;
}

std::vector<Outcome> Outcomes(const Client& client) {
  std::vector<Outcome> outcomes;
  for (const auto& result : client.results) outcomes.push_back(result.outcome);
  return outcomes;
}

std::string Content(std::size_t size, std::uint64_t seed = 1) {
  Rng rng(seed);
  std::string content(size, '\0');
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t drawn = rng.Next();
    std::memcpy(content.data() + at, &drawn, std::min<std::size_t>(8, size - at));
  }
  return content;
}

TEST(FileTransferTest, FilesAndFoldersArriveInOrder) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    Stored stored;
    Server server(&stored);
    Client client({{.name = "d", .folder = true},
                   {.name = "d/empty"},
                   {.name = "d/one", .content = "1"},
                   {.name = "d/large", .content = Content(600'000)},
                   {.name = "d/edge", .content = Content(FileSender::kBlockBytes)},
                   {.name = "new", .content = Content(1000), .resume = true},
                   {.name = "none", .resume = true}});
    ASSERT_TRUE(RunBoth(&client, &server, rng)) << seed;
    EXPECT_EQ(server.broken, "");
    EXPECT_THAT(Outcomes(client), ::testing::Each(Outcome::kStored));
    EXPECT_THAT(stored.folders, ElementsAre("d"));
    EXPECT_EQ(stored.files,
              (std::map<std::string, std::string>{{"d/empty", ""},
                                                  {"d/one", "1"},
                                                  {"d/large", Content(600'000)},
                                                  {"d/edge", Content(FileSender::kBlockBytes)},
                                                  {"new", Content(1000)},
                                                  {"none", ""}}));
    std::vector<std::uint32_t> numbers;
    for (const auto& result : client.results) numbers.push_back(result.number);
    EXPECT_THAT(numbers, ElementsAre(0, 1, 2, 3, 4, 5, 6));
  }
}

TEST(FileTransferTest, ABrokenTransferGoesOnWhereItStopped) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Rng rng(seed);
    Stored stored;
    const Source source{.name = "f", .content = Content(700'000), .resume = true};
    const std::uint64_t broken_at = rng.Below(700'000);
    {
      Server server(&stored);
      Client client({source});
      ASSERT_TRUE(RunBoth(&client, &server, rng, broken_at));
    }
    const std::size_t there = stored.partial["f"].size();
    Server server(&stored);
    Client client({source});
    ASSERT_TRUE(RunBoth(&client, &server, rng)) << seed;
    EXPECT_EQ(stored.files["f"], source.content);
    EXPECT_EQ(client.content_bytes, source.content.size() - there);
    EXPECT_EQ(client.sender.resumed_bytes(), there);
  }
}

TEST(FileTransferTest, AnotherPrefixIsNotGoneOnWith) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    Stored stored;
    stored.partial["f"] = Content(5000, 2);
    Server server(&stored);
    Client client({{.name = "f", .content = Content(7000), .resume = true}});
    ASSERT_TRUE(RunBoth(&client, &server, rng)) << seed;
    EXPECT_EQ(stored.files["f"], Content(7000));
    EXPECT_EQ(client.sender.resumed_bytes(), 0U);
  }
}

TEST(FileTransferTest, AWholePartialFileNeedsNoContent) {
  Rng rng(1);
  Stored stored;
  stored.partial["f"] = Content(5000);
  Server server(&stored);
  Client client({{.name = "f", .content = Content(5000), .resume = true}});
  ASSERT_TRUE(RunBoth(&client, &server, rng));
  EXPECT_EQ(stored.files["f"], Content(5000));
  EXPECT_EQ(client.content_bytes, 0U);
}

TEST(FileTransferTest, ASourceThatShrinksOrChangesIsGivenUpAndTheNextFileSent) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    Stored stored;
    Server server(&stored);
    Client client({{.name = "shrinks", .content = Content(600'000), .shrinks_to = 300'000},
                   {.name = "gone", .content = Content(600'000), .shrinks_to = 0},
                   {.name = "changes", .content = Content(600'000), .changed = true},
                   {.name = "empty", .changed = true},
                   {.name = "good", .content = "good"}});
    ASSERT_TRUE(RunBoth(&client, &server, rng)) << seed;
    EXPECT_EQ(server.broken, "");
    EXPECT_THAT(Outcomes(client),
                ElementsAre(Outcome::kAborted, Outcome::kAborted, Outcome::kAborted,
                            Outcome::kAborted, Outcome::kStored));
    EXPECT_EQ(client.results[0].text, "shrank");
    EXPECT_EQ(client.results[2].text, "changed");
    EXPECT_EQ(stored.files, (std::map<std::string, std::string>{{"good", "good"}}));
    EXPECT_TRUE(stored.partial.empty()) << "nothing is kept of what the client gave up";
  }
}

TEST(FileTransferTest, AFileThatTheServerGivesUpIsCutShortAndTheNextOneSent) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Rng rng(seed);
    Stored stored;
    Server server(&stored);
    // The effect that fails: opening, any append, the end.
    const std::uint64_t failing = rng.Below(15);
    std::uint64_t effects = 0;
    server.fate = [&] { return effects++ == failing ? Outcome::kFailed : Outcome::kStored; };
    const std::string large = Content(900'000);
    Client client({{.name = "large", .content = large, .resume = rng.Bernoulli(0.5)},
                   {.name = "d", .folder = true},
                   {.name = "next", .content = Content(700'000), .resume = rng.Bernoulli(0.5)}});
    ASSERT_TRUE(RunBoth(&client, &server, rng)) << seed;
    EXPECT_EQ(server.broken, "");
    ASSERT_EQ(client.results.size(), 3U);
    int failed = 0;
    for (const auto& result : client.results) {
      failed += result.outcome == Outcome::kStored ? 0 : 1;
      if (result.outcome != Outcome::kStored) {
        EXPECT_EQ(result.text, "fate");
      }
    }
    EXPECT_EQ(failed, effects > failing ? 1 : 0) << seed;
  }
}

TEST(FileTransferTest, ARefusedFileCostsAtMostItsBlockOfContent) {
  Rng rng(1);
  Stored stored;
  Server server(&stored);
  server.fate = [] { return Outcome::kRefused; };
  FileSender sender;
  OpenMessage open;
  open.size = 1'000'000'000;
  open.name = "f";
  sender.Begin(open);
  // As much as is needed until the server has said no.
  std::string stream;
  for (int i = 0; i < 3; ++i) {
    const auto action = sender.Next();
    if (const auto* bytes = std::get_if<FileSender::Bytes>(&action)) {
      stream.append(bytes->bytes);
      sender.Written(bytes->bytes.size());
    }
  }
  server.Receive(&stream);
  ASSERT_TRUE(sender.HandleReplies(AsBytes(server.receiver.replies())).ok());
  server.receiver.replies().clear();
  std::uint64_t made_up = 0;
  while (!std::holds_alternative<FileSender::Idle>(sender.Next())) {
    const auto action = sender.Next();
    ASSERT_TRUE(std::holds_alternative<FileSender::Bytes>(action));
    const std::string bytes(std::get<FileSender::Bytes>(action).bytes);
    made_up += bytes.size();
    stream += bytes;
    sender.Written(bytes.size());
  }
  EXPECT_LE(made_up, FileSender::kBlockBytes + 100U);
  server.Receive(&stream);
  EXPECT_EQ(server.broken, "");
  EXPECT_TRUE(server.receiver.at_end());
  EXPECT_EQ(server.receiver.replies(), "") << "answered once";
}

TEST(FileTransferTest, ManyFilesWaitForTheirAnswersInBounds) {
  FileSender sender;
  std::size_t begun = 0;
  while (std::holds_alternative<FileSender::Idle>(sender.Next())) {
    OpenMessage folder;
    folder.kind = EntryKind::kFolder;
    folder.name = "f";
    sender.Begin(folder);
    ++begun;
    sender.Written(std::get<FileSender::Bytes>(sender.Next()).bytes.size());
  }
  EXPECT_TRUE(std::holds_alternative<FileSender::WaitForReply>(sender.Next()));
  EXPECT_EQ(begun, FileSender::kUnansweredMax);
  std::string reply;
  AppendTo(&reply, DoneMessage{0, Outcome::kStored, "f"});
  ASSERT_TRUE(sender.HandleReplies(AsBytes(reply)).ok());
  EXPECT_TRUE(std::holds_alternative<FileSender::Idle>(sender.Next()));
}

TEST(FileTransferTest, TheSameSeedGivesTheSameBytes) {
  const auto run = [] {
    Rng rng(7);
    Stored stored;
    stored.partial["b"] = Content(100);
    Server server(&stored);
    Client client({{.name = "a", .content = Content(400'000)},
                   {.name = "b", .content = Content(4000), .resume = true}});
    std::string requests;
    std::string all;
    for (int i = 0; i < 100; ++i) {
      std::string sent;
      client.Send(&sent, 1 + rng.Below(100'000));
      all += sent;
      requests += sent;
      server.Receive(&requests);
      std::string answers = std::exchange(server.receiver.replies(), "");
      all += answers;
      client.Receive(&answers);
    }
    EXPECT_EQ(stored.files.size(), 2U);
    return all;
  };
  EXPECT_EQ(run(), run());
}

// --- Peers that break the rules ---

template <typename Message>
std::string Bytes(const Message& message) {
  std::string out;
  AppendTo(&out, message);
  return out;
}

TEST(FileReceiverTest, ABadNameIsRefusedAndItsContentSkipped) {
  for (const std::string name : {"../x", "", "/etc/passwd", ".udp-partial/x"}) {
    Stored stored;
    Server server(&stored);
    OpenMessage open;
    open.size = 3;
    open.name = name;
    OpenMessage next;
    next.number = 1;
    next.name = "good";
    std::string block;
    AppendBlockHead(&block, 3);
    std::string stream = Bytes(open) + block + "abc" + Bytes(EndMessage{DigestOf("abc")}) +
                         Bytes(next) + Bytes(EndMessage{DigestOf("")});
    server.Receive(&stream);
    EXPECT_EQ(server.broken, "");
    EXPECT_THAT(server.receiver.replies(), HasSubstr(std::string("D\0\0\0\0\1", 6)));
    EXPECT_THAT(server.receiver.replies(), HasSubstr(std::string("D\0\0\0\1\0\0\4good", 12)));
    EXPECT_EQ(stored.files.size(), 1U);
    EXPECT_EQ(stored.partial.size(), 0U);
  }
}

TEST(FileReceiverTest, AFileGoesOnWhereItEndedOrAtItsBegin) {
  for (const auto& [from, good] :
       {std::pair<std::uint64_t, bool>{0, true}, {4, true}, {3, false}, {5, false}, {9, false}}) {
    Stored stored;
    stored.partial["f"] = "abcd";
    Server server(&stored);
    OpenMessage open;
    open.size = 9;
    open.resume = true;
    open.name = "f";
    std::string stream = Bytes(open) + Bytes(FromMessage{from});
    server.Receive(&stream);
    EXPECT_EQ(server.broken.empty(), good) << from;
    EXPECT_EQ(stored.partial["f"], from == 0 ? "" : "abcd") << from;
  }
}

TEST(FileReceiverTest, AWrongDigestIsAnOutcome) {
  Stored stored;
  Server server(&stored);
  OpenMessage open;
  open.name = "f";
  std::string stream = Bytes(open) + Bytes(EndMessage{DigestOf("other")});
  server.Receive(&stream);
  EXPECT_EQ(server.receiver.replies(), Bytes(DoneMessage{0, Outcome::kCorrupt, "digest"}));
  EXPECT_TRUE(stored.files.empty());
}

TEST(FileSenderTest, RepliesThatFitNothingAreRefused) {
  OpenMessage open;
  open.size = 10;
  open.resume = true;
  open.name = "f";
  const auto begun = [&](bool resume) {
    FileSender sender;
    open.resume = resume;
    sender.Begin(open);
    while (std::holds_alternative<FileSender::Bytes>(sender.Next())) {
      sender.Written(std::get<FileSender::Bytes>(sender.Next()).bytes.size());
    }
    return sender;
  };
  const std::string digest(16, 'd');
  const struct {
    bool resume;
    std::string reply;
    std::string why;
  } kCases[] = {
      {true, "?", "an unknown answer"},
      {false, Bytes(StartMessage{0, 0, ""}), "a start that was not asked for"},
      {true, Bytes(StartMessage{1, 0, ""}), "a start that was not asked for"},
      {true, Bytes(StartMessage{0, 0, ""}) + Bytes(StartMessage{0, 0, ""}), "not asked for"},
      {true, Bytes(StartMessage{0, 11, digest}), "more than the whole file"},
      {true, Bytes(DoneMessage{1, Outcome::kFailed, ""}), "out of order"},
      {true,
       Bytes(DoneMessage{0, Outcome::kFailed, ""}) + Bytes(DoneMessage{0, Outcome::kFailed, ""}),
       "out of order"},
      {true, Bytes(DoneMessage{0, Outcome::kStored, ""}), "stored before its end"},
      {false, Bytes(DoneMessage{0, Outcome::kStored, ""}), "stored before its end"},
  };
  for (const auto& c : kCases) {
    FileSender sender = begun(c.resume);
    const absl::Status status = sender.HandleReplies(AsBytes(c.reply));
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(Message(status), HasSubstr(c.why));
  }
  FileSender idle;
  EXPECT_FALSE(idle.HandleReplies(AsBytes(Bytes(StartMessage{0, 0, ""}))).ok());
  EXPECT_FALSE(idle.HandleReplies(AsBytes(Bytes(DoneMessage{0, Outcome::kFailed, ""}))).ok());
}

}  // namespace
}  // namespace ds::udp_transfer
