#include "udp_transfer/server/receive_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/sim/sim_disk.h"
#include "tests/udp_transfer/hex.h"
#include "udp_transfer/core/file_sender.h"
#include "udp_transfer/seal/file_digest.h"

namespace ds::udp_transfer {
namespace {

using ::ds::sim::SimDisk;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const TimePoint kStart = TimePoint(std::chrono::hours(1));

std::string Content(std::size_t size) {
  Rng rng(size);
  std::string content(size, '\0');
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t drawn = rng.Next();
    std::memcpy(content.data() + at, &drawn, std::min<std::size_t>(8, size - at));
  }
  return content;
}

DigestKey Key(char fill) {
  DigestKey key;
  key.emplace().fill(static_cast<std::byte>(fill));
  return key;
}

/// A client with one file, as the program does it: content goes straight into the stream, the
/// digest along with it.
class Client {
 public:
  Client(std::string name, std::string content, const DigestKey& key, bool resume)
      : content_(std::move(content)), key_(key), digest_(key) {
    OpenMessage open;
    open.name = std::move(name);
    open.size = content_.size();
    open.mode = 0600;
    open.resume = resume;
    open.mtime_ns = 1'234'567'890'123'456'789;
    sender.Begin(open);
  }

  /// As much as can be sent now.
  std::string Send() {
    std::string stream;
    for (;;) {
      const auto action = sender.Next();
      if (const auto* bytes = std::get_if<FileSender::Bytes>(&action)) {
        const std::size_t size = bytes->bytes.size();
        stream.append(bytes->bytes);
        sender.Written(size);
      } else if (const auto* content = std::get_if<FileSender::Content>(&action)) {
        const auto some = std::string_view(content_).substr(content->offset, content->length);
        digest_.Update(AsBytes(some));
        stream.append(some);
        sender.Written(some.size());
      } else if (const auto* compare = std::get_if<FileSender::ComparePrefix>(&action)) {
        digest_.Update(AsBytes(content_).first(compare->offset));
        const bool same = digest_.Value() == compare->digest;
        if (!same) digest_ = FileDigest(key_);
        sender.PrefixCompared(same);
      } else if (std::holds_alternative<FileSender::CheckSource>(action)) {
        sender.Finished(digest_.Value());
      } else {
        return stream;
      }
    }
  }

  FileSender sender;

 private:
  std::string content_;
  DigestKey key_;
  FileDigest digest_;
};

class ReceiveSessionTest : public ::testing::Test {
 protected:
  ReceiveSessionTest() { Restart(); }
  void Restart() {
    auto store = PartialStore::Open(&disk_, options_, disk_.now_unix_s);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = std::move(*store);
  }

  /// Gives the stream to the session; its answers.
  absl::StatusOr<std::string> Receive(ReceiveSession* session, std::string_view stream) {
    std::string answers;
    for (;;) {
      now_ += std::chrono::milliseconds(100);
      ASSIGN_OR_RETURN(const std::size_t taken, session->Receive(AsBytes(stream), now_));
      stream.remove_prefix(taken);
      if (taken == 0 && session->replies().empty()) break;
      answers += std::exchange(session->replies(), "");
    }
    RETURN_IF_ERROR(session->Settle());
    return answers + std::exchange(session->replies(), "");
  }

  /// Both ends until nothing happens any more.
  void Exchange(Client* client, ReceiveSession* session) {
    for (std::string stream = client->Send(); !stream.empty(); stream = client->Send()) {
      const auto answers = Receive(session, stream);
      ASSERT_TRUE(answers.ok()) << answers.status();
      ASSERT_TRUE(client->sender.HandleReplies(AsBytes(*answers)).ok());
    }
  }

  SimDisk disk_;
  PartialStore::Options options_;
  std::unique_ptr<PartialStore> store_;
  TimePoint now_ = kStart;
};

TEST_F(ReceiveSessionTest, AFileArrivesWithAndWithoutKey) {
  for (const DigestKey& key : {DigestKey(), Key('k')}) {
    Client client("d/f", Content(1'000'000), key, false);
    ReceiveSession session(store_.get(), key);
    Exchange(&client, &session);
    const auto results = client.sender.TakeResults();
    ASSERT_EQ(results.size(), 1U);
    EXPECT_EQ(results[0].outcome, Outcome::kStored);
    EXPECT_EQ(results[0].text, "d/f");
    EXPECT_EQ(disk_.Read("d/f"), Content(1'000'000));
    EXPECT_TRUE(session.at_end());
    EXPECT_EQ(session.stats().files_stored, 1U);
    EXPECT_EQ(session.stats().content_bytes, 1'000'000U);
  }
}

TEST_F(ReceiveSessionTest, ABrokenConnectionIsResumedByOneWithOtherKeys) {
  const std::string content = Content(1'000'000);
  {
    Client client("f", content, Key('a'), true);
    ReceiveSession session(store_.get(), Key('a'));
    auto answers = Receive(&session, client.Send());
    ASSERT_TRUE(client.sender.HandleReplies(AsBytes(*answers)).ok());
    ASSERT_TRUE(Receive(&session, client.Send().substr(0, 700'000)).ok());
    EXPECT_FALSE(session.at_end());
  }
  Client client("f", content, Key('b'), true);
  ReceiveSession session(store_.get(), Key('b'));
  Exchange(&client, &session);
  EXPECT_GT(client.sender.resumed_bytes(), 690'000U);
  EXPECT_EQ(session.stats().resumed_bytes, client.sender.resumed_bytes());
  EXPECT_EQ(session.stats().content_bytes, content.size() - client.sender.resumed_bytes());
  EXPECT_EQ(disk_.Read("f"), content);
}

TEST_F(ReceiveSessionTest, ALongResumeLetsOthersHaveTheirTurn) {
  const std::string content = Content(20'000'000);
  {
    Client client("f", content, {}, true);
    ReceiveSession session(store_.get(), {});
    auto answers = Receive(&session, client.Send());
    ASSERT_TRUE(client.sender.HandleReplies(AsBytes(*answers)).ok());
    ASSERT_TRUE(Receive(&session, client.Send().substr(0, 19'000'000)).ok());
  }
  Client client("f", content, {}, true);
  ReceiveSession session(store_.get(), {});
  const std::string open = client.Send();
  int turns = 0;
  for (;; ++turns) {
    const auto taken = session.Receive(AsBytes(open), now_);
    ASSERT_TRUE(taken.ok()) << taken.status();
    if (*taken > 0) break;
    ASSERT_TRUE(session.replies().empty());
  }
  EXPECT_EQ(turns, 2) << "three pieces";
  ASSERT_TRUE(client.sender.HandleReplies(AsBytes(std::exchange(session.replies(), ""))).ok());
  Exchange(&client, &session);
  EXPECT_GT(client.sender.resumed_bytes(), 18'000'000U);
  EXPECT_EQ(disk_.Read("f"), content);
}

TEST_F(ReceiveSessionTest, AResumeOfWhatIsStoredAlreadySendsNothing) {
  for (const Overwrite overwrite : {Overwrite::kYes, Overwrite::kNo, Overwrite::kRename}) {
    options_.overwrite = overwrite;
    Restart();
    for (const std::size_t size : {std::size_t{0}, std::size_t{7'000'000}}) {
      for (const char fill : {'a', 'b'}) {
        Client client("d/f" + std::to_string(size), Content(size), Key(fill), true);
        ReceiveSession session(store_.get(), Key(fill));
        Exchange(&client, &session);
        const auto results = client.sender.TakeResults();
        ASSERT_EQ(results.size(), 1U);
        EXPECT_EQ(results[0].outcome, Outcome::kStored) << results[0].text;
        EXPECT_EQ(results[0].text, "d/f" + std::to_string(size));
        const bool second = fill == 'b' || overwrite != Overwrite::kYes;
        EXPECT_EQ(session.stats().resumed_bytes, second ? size : 0);
        EXPECT_EQ(session.stats().content_bytes, second ? 0 : size);
        EXPECT_EQ(client.sender.resumed_bytes(), session.stats().resumed_bytes);
        EXPECT_EQ(disk_.Read("d/f" + std::to_string(size)), Content(size));
      }
    }
    EXPECT_THAT(disk_.Names(), ElementsAre(".udp-partial/", "d/", "d/f0", "d/f7000000"));
  }
}

TEST_F(ReceiveSessionTest, AFileOfTheSameSizeAndTimeWithOtherContentIsAnother) {
  const std::string old(1000, 'o');
  for (const auto& [overwrite, outcome, stored_as] :
       {std::tuple(Overwrite::kNo, Outcome::kRefused, "f"),
        std::tuple(Overwrite::kRename, Outcome::kStored, "f.1"),
        std::tuple(Overwrite::kYes, Outcome::kStored, "f")}) {
    options_.overwrite = Overwrite::kYes;
    Restart();
    Client first("f", old, {}, false);
    ReceiveSession before(store_.get(), {});
    Exchange(&first, &before);
    options_.overwrite = overwrite;
    Restart();
    Client client("f", Content(1000), {}, true);
    ReceiveSession session(store_.get(), {});
    Exchange(&client, &session);
    const auto results = client.sender.TakeResults();
    ASSERT_EQ(results.size(), 1U);
    EXPECT_EQ(results[0].outcome, outcome) << results[0].text;
    EXPECT_EQ(session.stats().resumed_bytes, 0U);
    EXPECT_EQ(disk_.Read("f"), overwrite == Overwrite::kYes ? Content(1000) : old);
    if (outcome == Outcome::kStored) {
      EXPECT_EQ(results[0].text, stored_as);
      EXPECT_EQ(disk_.Read(stored_as), Content(1000));
    } else {
      EXPECT_THAT(results[0].text, HasSubstr("--overwrite"));
    }
  }
  // And that neighbour is found, too.
  options_.overwrite = Overwrite::kRename;
  Restart();
  auto file = disk_.OpenFile("f", fs::Disk::Open::kEmpty);
  ASSERT_TRUE(file.ok());
  Client client("f", Content(1000), {}, true);
  ReceiveSession session(store_.get(), {});
  Exchange(&client, &session);
  EXPECT_EQ(client.sender.TakeResults().at(0).text, "f.1");
  EXPECT_EQ(session.stats().resumed_bytes, 1000U);
}

TEST_F(ReceiveSessionTest, AStoredFileOutlivesAClientThatGivesItUp) {
  Client first("f", Content(1000), {}, false);
  ReceiveSession before(store_.get(), {});
  Exchange(&first, &before);
  for (const bool says_so : {true, false}) {
    Client client("f", Content(1000), {}, true);
    ReceiveSession session(store_.get(), {});
    const auto answers = Receive(&session, client.Send().substr(0, 100));
    ASSERT_TRUE(client.sender.HandleReplies(AsBytes(*answers)).ok());
    if (says_so) {
      client.sender.SourceChanged("gone");
      Exchange(&client, &session);
      EXPECT_EQ(client.sender.TakeResults().at(0).outcome, Outcome::kAborted);
    }
  }
  EXPECT_EQ(disk_.Read("f"), Content(1000));
}

TEST_F(ReceiveSessionTest, ManySmallFilesShareTheirSyncsAndAreAnsweredInOrder) {
  constexpr int kFiles = 200;
  std::string stream;
  FileSender sender;
  const auto append = [&] {
    for (auto action = sender.Next(); !std::holds_alternative<FileSender::Idle>(action);
         action = sender.Next()) {
      if (const auto* bytes = std::get_if<FileSender::Bytes>(&action)) {
        stream += bytes->bytes;
        sender.Written(bytes->bytes.size());
      } else {
        FileDigest digest{DigestKey()};
        sender.Finished(digest.Value());
      }
    }
  };
  for (int i = 0; i < kFiles; ++i) {
    OpenMessage open;
    // Among them folders, a bad name, and one name twice.
    open.name = i % 50 == 7 ? "../f" : i == 101 ? "f100" : "f" + std::to_string(i);
    open.kind = i % 50 == 9 ? EntryKind::kFolder : EntryKind::kFile;
    sender.Begin(open);
    append();
  }
  int syncs = 0;
  std::size_t open_at_once = 0;
  disk_.fault = [&](const std::string& operation, const std::string&) {
    syncs += operation == "sync folder" ? 1 : 0;
    const auto parts = disk_.Names();
    open_at_once = std::max<std::size_t>(
        open_at_once, static_cast<std::size_t>(std::count_if(
                          parts.begin(), parts.end(),
                          [](const std::string& name) { return name.ends_with(".part"); })));
    return absl::OkStatus();
  };
  ReceiveSession session(store_.get(), {});
  const auto answers = Receive(&session, stream);
  ASSERT_TRUE(answers.ok()) << answers.status();
  ASSERT_TRUE(sender.HandleReplies(AsBytes(*answers)).ok()) << "in order";
  EXPECT_TRUE(sender.all_answered());
  const auto results = sender.TakeResults();
  ASSERT_EQ(results.size(), std::size_t{kFiles});
  for (int i = 0; i < kFiles; ++i) {
    EXPECT_EQ(results[static_cast<std::size_t>(i)].outcome,
              i % 50 == 7 ? Outcome::kRefused : Outcome::kStored)
        << i << results[static_cast<std::size_t>(i)].text;
  }
  EXPECT_LE(syncs, 10) << "four groups, four folders, and the name that comes twice";
  EXPECT_LE(open_at_once, 64U);
}

TEST_F(ReceiveSessionTest, WhatTheClientDoesNotGoOnWithWasNotResumed) {
  {
    Client client("f", Content(100'000), {}, true);
    ReceiveSession session(store_.get(), {});
    auto answers = Receive(&session, client.Send());
    ASSERT_TRUE(client.sender.HandleReplies(AsBytes(*answers)).ok());
    ASSERT_TRUE(Receive(&session, client.Send().substr(0, 70'000)).ok());
  }
  std::string changed = Content(100'000);
  changed[0] = static_cast<char>(changed[0] ^ 1);
  Client client("f", changed, {}, true);
  ReceiveSession session(store_.get(), {});
  const auto answers = Receive(&session, client.Send());
  ASSERT_TRUE(answers.ok()) << answers.status();
  EXPECT_EQ(session.stats().resumed_bytes, 0U) << "a counter that has counted does not go back";
  ASSERT_TRUE(client.sender.HandleReplies(AsBytes(*answers)).ok());
  Exchange(&client, &session);
  EXPECT_EQ(session.stats().resumed_bytes, 0U);
  EXPECT_EQ(disk_.Read("f"), changed);
}

TEST_F(ReceiveSessionTest, FilesThatWaitForTheirNamesDoNotUseUpTheLimits) {
  constexpr std::size_t kFiles = 20;
  options_.partial_bytes_max = 1'000'000;
  options_.partials_max = 7;
  Restart();
  const std::string content = Content(100'000);
  std::string stream;
  FileSender sender;
  for (std::size_t i = 0; i < kFiles; ++i) {
    OpenMessage open;
    open.name = "f" + std::to_string(i);
    open.size = content.size();
    open.mode = 0600;
    sender.Begin(open);
    FileDigest digest{DigestKey()};
    for (auto action = sender.Next(); !std::holds_alternative<FileSender::Idle>(action);
         action = sender.Next()) {
      if (const auto* bytes = std::get_if<FileSender::Bytes>(&action)) {
        stream += bytes->bytes;
        sender.Written(bytes->bytes.size());
      } else if (const auto* piece = std::get_if<FileSender::Content>(&action)) {
        const auto some = std::string_view(content).substr(piece->offset, piece->length);
        digest.Update(AsBytes(some));
        stream += some;
        sender.Written(some.size());
      } else {
        sender.Finished(digest.Value());
      }
    }
  }
  ReceiveSession session(store_.get(), {});
  const auto answers = Receive(&session, stream);
  ASSERT_TRUE(answers.ok()) << answers.status();
  ASSERT_TRUE(sender.HandleReplies(AsBytes(*answers)).ok());
  const auto results = sender.TakeResults();
  ASSERT_EQ(results.size(), kFiles);
  for (const auto& result : results) EXPECT_EQ(result.outcome, Outcome::kStored) << result.text;
}

TEST_F(ReceiveSessionTest, AnotherContentIsSentFromItsBegin) {
  {
    Client client("f", Content(100'000), {}, true);
    ReceiveSession session(store_.get(), {});
    auto answers = Receive(&session, client.Send());
    ASSERT_TRUE(client.sender.HandleReplies(AsBytes(*answers)).ok());
    ASSERT_TRUE(Receive(&session, client.Send().substr(0, 50'000)).ok());
  }
  const std::string other(100'000, 'o');
  Client client("f", other, {}, true);
  ReceiveSession session(store_.get(), {});
  Exchange(&client, &session);
  EXPECT_EQ(client.sender.resumed_bytes(), 0U);
  EXPECT_EQ(session.stats().resumed_bytes, 0U);
  EXPECT_EQ(disk_.Read("f"), other);
}

TEST_F(ReceiveSessionTest, ContentThatWasChangedOnItsWayIsNotStored) {
  Client client("f", Content(1000), {}, false);
  ReceiveSession session(store_.get(), {});
  std::string stream = client.Send();
  stream[500] = static_cast<char>(stream[500] ^ 1);
  const auto answers = Receive(&session, stream);
  ASSERT_TRUE(client.sender.HandleReplies(AsBytes(*answers)).ok());
  EXPECT_EQ(client.sender.TakeResults().at(0).outcome, Outcome::kCorrupt);
  EXPECT_THAT(disk_.Names(), ElementsAre(".udp-partial/")) << "nor kept for a resume";
}

TEST_F(ReceiveSessionTest, AFullDiskIsAnOutcomeAndTheSessionGoesOn) {
  Client client("f", Content(1'000'000), {}, false);
  ReceiveSession session(store_.get(), {});
  disk_.fault = [](const std::string& operation, const std::string&) {
    return operation == "write" ? Error(absl::StatusCode::kResourceExhausted, "disk full")
                                : absl::OkStatus();
  };
  Exchange(&client, &session);
  const auto results = client.sender.TakeResults();
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].outcome, Outcome::kFailed);
  EXPECT_THAT(results[0].text, HasSubstr("disk full"));
  disk_.fault = nullptr;
  OpenMessage folder;
  folder.kind = EntryKind::kFolder;
  folder.name = "d";
  client.sender.Begin(folder);
  Exchange(&client, &session);
  EXPECT_EQ(client.sender.TakeResults().at(0).outcome, Outcome::kStored);
  EXPECT_THAT(disk_.Names(), ElementsAre(".udp-partial/", "d/"));
  EXPECT_EQ(session.stats().files_failed, 1U);
}

TEST_F(ReceiveSessionTest, AClientThatGivesUpLeavesNothing) {
  Client client("f", Content(1'000'000), {}, false);
  ReceiveSession session(store_.get(), {});
  // The head of the file and of its first block, some of that.
  const auto open = client.sender.Next();
  const std::string head(std::get<FileSender::Bytes>(open).bytes);
  client.sender.Written(head.size());
  EXPECT_EQ(Receive(&session, head + "some").value(), "");
  client.sender.Written(4);
  client.sender.SourceChanged("gone");
  Exchange(&client, &session);
  EXPECT_EQ(client.sender.TakeResults().at(0).outcome, Outcome::kAborted);
  EXPECT_THAT(disk_.Names(), ElementsAre(".udp-partial/"));
  EXPECT_EQ(session.stats().files_stored, 0U);
}

TEST_F(ReceiveSessionTest, AClientThatBreaksTheRulesEndsTheSession) {
  ReceiveSession session(store_.get(), {});
  EXPECT_TRUE(absl::IsInvalidArgument(Receive(&session, "nonsense").status()));
}

TEST_F(ReceiveSessionTest, AFailedSyncEndsTheSession) {
  Client client("f", Content(1000), {}, false);
  ReceiveSession session(store_.get(), {});
  disk_.fault = [](const std::string& operation, const std::string&) {
    return operation == "sync" ? Error(absl::StatusCode::kDataLoss, "sync failed")
                               : absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsDataLoss(Receive(&session, client.Send()).status()));
  EXPECT_EQ(disk_.Read("f"), std::nullopt);
}

TEST_F(ReceiveSessionTest, TheOlderConnectionOfATransferIsTold) {
  const std::string content = Content(100'000);
  Client old_client("f", content, {}, false);
  Client new_client("f", content, {}, true);
  ReceiveSession old_session(store_.get(), {});
  ReceiveSession new_session(store_.get(), {});
  const std::string stream = old_client.Send();
  ASSERT_TRUE(Receive(&old_session, std::string_view(stream).substr(0, 60'000)).ok());
  Exchange(&new_client, &new_session);
  EXPECT_GT(new_client.sender.resumed_bytes(), 50'000U);
  EXPECT_EQ(disk_.Read("f"), content);
  const auto answers = Receive(&old_session, std::string_view(stream).substr(60'000));
  ASSERT_TRUE(old_client.sender.HandleReplies(AsBytes(*answers)).ok());
  EXPECT_EQ(old_client.sender.TakeResults().at(0).outcome, Outcome::kReplaced);
  EXPECT_EQ(disk_.Read("f"), content);
}

}  // namespace
}  // namespace ds::udp_transfer
