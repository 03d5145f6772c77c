#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "compute/tcp/bench_script.h"
#include "compute/tcp/connection_queue.h"
#include "compute/tcp/line_printer.h"
#include "compute/tcp/number_source.h"
#include "compute/tcp/worker.h"
#include "tests/harness/deadline.h"
#include "tests/harness/eventually.h"
#include "tests/harness/temp_dir.h"

namespace ds::compute::tcp {
namespace {

using namespace std::chrono_literals;
using testing::Eventually;
using testing::kDeadline;

Accepted MakeAccepted() { return {UniqueFd(::eventfd(0, EFD_CLOEXEC)), {}}; }

TEST(ConnectionQueueTest, AFullQueueHoldsUpThePusherUntilThereIsRoom) {
  auto queue = ConnectionQueue::Create(2);
  ASSERT_TRUE(queue.ok());
  std::atomic<int> pushed{0};
  std::jthread pusher([&](const std::stop_token& stop) {
    for (int i = 0; i < 4; ++i) {
      Accepted connection = MakeAccepted();
      if ((*queue)->Push(connection, stop)) ++pushed;
    }
  });
  ASSERT_TRUE(Eventually(kDeadline, "the queue is full", [&] { return pushed == 2; }));
  EXPECT_TRUE((*queue)->Take().has_value());
  ASSERT_TRUE(Eventually(kDeadline, "the next one is in", [&] { return pushed == 3; }));
  pusher.request_stop();
  pusher.join();
  EXPECT_EQ(pushed, 3) << "who waits is let go by a stop";
  EXPECT_TRUE((*queue)->Take().has_value());
  EXPECT_TRUE((*queue)->Take().has_value());
  EXPECT_FALSE((*queue)->Take().has_value());
}

TEST(ConnectionQueueTest, APushThatIsStoppedLeavesTheConnectionToItsOwner) {
  auto queue = ConnectionQueue::Create(1);
  ASSERT_TRUE(queue.ok());
  std::stop_source stop;
  stop.request_stop();
  Accepted first = MakeAccepted();
  Accepted second = MakeAccepted();
  EXPECT_TRUE((*queue)->Push(first, stop.get_token())) << "there is room";
  EXPECT_FALSE((*queue)->Push(second, stop.get_token()));
  EXPECT_TRUE(second.socket);
}

TEST(WorkerTest, WhatWaitsForPeersThatDoNotReadIsBoundedAltogether) {
  const UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  auto printer = LinePrinter::Start(null.get());
  ASSERT_TRUE(printer.ok());
  const PrimeConnection::Options options;
  std::atomic<std::size_t> open{0};
  auto worker = Worker::Create([&](TimePoint now) { return PrimeConnection(&options, now); }, &open,
                               printer->get());
  ASSERT_TRUE(worker.ok());
  (*worker)->Start("worker");

  std::string lines;  // with answers of 221 KiB, so that 304 peers reach the limit
  while (lines.size() < 16384) lines += "x\n";
  constexpr std::size_t kPeers = 400;
  std::vector<UniqueFd> peers;
  while (peers.size() < kPeers) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
    Accepted accepted{UniqueFd(ends[0]), {}};
    peers.emplace_back(ends[1]);
    const int small = 1;  // the kernel's minimum
    ASSERT_EQ(::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    ASSERT_EQ(::send(ends[1], lines.data(), lines.size(), 0), static_cast<ssize_t>(lines.size()));
    const std::uint64_t before = (*worker)->counters().received_bytes.Get();
    ++open;
    ++(*worker)->load();
    ASSERT_TRUE((*worker)->queue().Push(accepted, {}));
    ASSERT_TRUE(Eventually(kDeadline, "the worker reads",
                           [&] { return (*worker)->counters().received_bytes.Get() > before; }));
  }
  (*worker)->Stop();
  EXPECT_GE((*worker)->unsent_bytes(), Worker::kUnsentBytesMax);
  EXPECT_LE((*worker)->unsent_bytes(), Worker::kUnsentBytesMax + (256U << 10U) + kPeers * 4096);
}

/// A pipe whose reader decides when it reads.
class LinePrinterTest : public ::testing::Test {
 protected:
  LinePrinterTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    read_end_.Reset(ends[0]);
    write_end_.Reset(ends[1]);
    ::fcntl(read_end_.get(), F_SETFL, O_NONBLOCK);
    auto printer = LinePrinter::Start(write_end_.get());
    EXPECT_TRUE(printer.ok());
    printer_ = std::move(printer).value();
  }
  std::string ReadAll() const {
    std::string text;
    std::array<char, 65536> buffer;
    for (ssize_t n = 0; (n = ::read(read_end_.get(), buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<std::size_t>(n));
    }
    return text;
  }

  UniqueFd read_end_;
  UniqueFd write_end_;
  std::unique_ptr<LinePrinter> printer_;
};

TEST_F(LinePrinterTest, LinesComeWholeAndInOrder) {
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    printer_->Print("line " + std::to_string(i));
    expected += "line " + std::to_string(i) + "\n";
  }
  printer_->Flush(std::chrono::steady_clock::now() + kDeadline);
  EXPECT_EQ(ReadAll(), expected);
  EXPECT_EQ(printer_->lines_lost(), 0U);
}

TEST_F(LinePrinterTest, AReaderThatDoesNotReadHoldsUpNobodyAndLosesLines) {
  const std::string line(1000, 'x');
  for (int i = 0; i < 5000; ++i) printer_->Print(line);
  EXPECT_GT(printer_->lines_lost(), 1000U);
  printer_->Flush(std::chrono::steady_clock::now() + 1ms);  // does not wait for ever
  printer_.reset();
  const std::string text = ReadAll();
  EXPECT_EQ(text.size() % 1001, 0U) << "what was printed is whole lines";
}

TEST_F(LinePrinterTest, AClosedPipeLosesLinesAndNothingElse) {
  read_end_.Reset();
  std::signal(SIGPIPE, SIG_IGN);
  printer_->Print("to nobody");
  printer_->Flush(std::chrono::steady_clock::now() + kDeadline);
  EXPECT_EQ(printer_->lines_lost(), 1U);
}

TEST(BenchScriptTest, SlicesOfQuestionsAreThePeriodOverAndOver) {
  const BenchScript script({2, 40, 500}, /*bare=*/false, /*echo=*/false, 10);
  BenchScript::Place place;
  std::string asked;
  for (const std::size_t count : {1U, 1U, 1U, 2U, 7U, 10U, 2U}) {
    asked += script.Questions(&place, count);
  }
  std::string expected;
  for (int i = 0; i < 8; ++i) expected += "2\n40\n500\n";
  EXPECT_EQ(asked, expected);
}

TEST(BenchScriptTest, AnswersAreCheckedHoweverTheyAreCut) {
  const BenchScript script({2, 4}, /*bare=*/true, /*echo=*/false, 1);
  const std::string answers = "is primeis not primeis primeis not prime";
  for (std::size_t cut = 0; cut <= answers.size(); ++cut) {
    BenchScript::Place place;
    std::size_t first = 0;
    std::size_t second = 0;
    EXPECT_TRUE(script.CheckAnswers(answers.substr(0, cut), &place, &first));
    EXPECT_TRUE(script.CheckAnswers(answers.substr(cut), &place, &second));
    EXPECT_EQ(first + second, 4U);
  }
  BenchScript::Place place;
  std::size_t count = 0;
  EXPECT_FALSE(script.CheckAnswers("is primeis prime", &place, &count));
}

TEST(NumberSourceTest, ALineOfAnyLengthIsOneQuestion) {
  const testing::TempDir folder;
  folder.Write("numbers", std::string(64, '0') + "\n" + std::string(65, '0') + "\n" +
                              std::string(200'000, ' ') + "\n\n7");
  auto source = NumberSource::Open(folder.path() + "/numbers");
  ASSERT_TRUE(source.ok());
  std::vector<std::string> found;
  for (;;) {
    Question question;
    const auto next = source->Take(&question);
    ASSERT_TRUE(next.ok());
    if (*next == NumberSource::Next::kEnd) break;
    if (*next == NumberSource::Next::kNotYet) continue;
    found.push_back(question.error.empty() ? question.number.ToString() : question.error);
  }
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[0], "0");
  EXPECT_NE(found[1].find("line 2: longer than 64 bytes"), std::string::npos);
  EXPECT_EQ(found[3], "7");
}

}  // namespace
}  // namespace ds::compute::tcp
