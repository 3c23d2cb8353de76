// Messages between agent and worker through the real socket pair, of any length.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <random>
#include <thread>

#include "base/error.hpp"
#include "sharding/agent_protocol.hpp"

namespace kangpt::sharding {
namespace {

constexpr std::size_t kPiece = MessageSocket::kPieceBytes;

std::string text_of(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text(size, '\0');
  for (char& letter : text) letter = static_cast<char>(random());
  return text;
}

class MessageSocketTest : public ::testing::Test {
 protected:
  // As small as some systems have it: a few pieces fill it.
  MessageSocketTest() {
    constexpr int kBytes = 200'000;
    for (const MessageSocket* const socket : {&pair_.agent, &pair_.worker})
      EXPECT_EQ(::setsockopt(socket->fd(), SOL_SOCKET, SO_SNDBUF, &kBytes, sizeof kBytes), 0);
  }

  void expect(MessageSocket& socket, MessageKind kind, std::uint64_t argument, const std::string& payload) {
    const std::optional<Message> message = socket.receive();
    ASSERT_TRUE(message);
    EXPECT_EQ(message->kind, kind);
    EXPECT_EQ(message->argument, argument);
    EXPECT_TRUE(message->payload == payload) << message->payload.size() << " bytes, not " << payload.size();
  }

  // What a worker gone mad may write.
  void send_raw(const std::string& bytes) {
    ASSERT_EQ(::send(pair_.worker.fd(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }

  SocketPair pair_ = make_socket_pair();
};

// Around the borders of pieces, and far beyond what the socket holds: a sample of 65,536 tokens, 100,000 ranks.
TEST_F(MessageSocketTest, OfAnyLengthArriveWholeAndInOrder) {
  const std::vector<std::size_t> sizes = {0,          1,          kPiece - 1, kPiece,         kPiece + 1,
                                          2 * kPiece, 128 * 1024, 128 * 1025, 3 * kPiece + 7, 4'000'000};
  std::thread worker([&] {
    for (std::size_t i = 0; i < sizes.size(); ++i) pair_.worker.send(MessageKind::kReport, i, text_of(sizes[i], i));
  });
  for (std::size_t i = 0; i < sizes.size(); ++i) expect(pair_.agent, MessageKind::kReport, i, text_of(sizes[i], i));
  worker.join();
}

// A worker that is stopped must not stop its agent too.
TEST_F(MessageSocketTest, ThatArePostedNeverBlockAndGoOutLater) {
  const std::string result = text_of(5'000'000, 1);
  pair_.agent.post(MessageKind::kDone, 7, result);
  pair_.agent.post(MessageKind::kDone, 8, "small");
  EXPECT_FALSE(pair_.agent.flush());
  std::thread agent([&] {
    while (!pair_.agent.flush()) std::this_thread::yield();
  });
  expect(pair_.worker, MessageKind::kDone, 7, result);
  expect(pair_.worker, MessageKind::kDone, 8, "small");
  agent.join();
  EXPECT_TRUE(pair_.agent.flush());
}

TEST_F(MessageSocketTest, AreSeenOnceAllOfThemIsThere) {
  bool closed = false;
  EXPECT_FALSE(pair_.agent.try_receive(closed));
  pair_.worker.post(MessageKind::kReport, 0, text_of(50 * kPiece, 3));
  std::optional<Message> message;
  int looks = 0;
  for (; !(message = pair_.agent.try_receive(closed)); ++looks) pair_.worker.flush();
  EXPECT_GT(looks, 0);
  EXPECT_FALSE(closed);
  EXPECT_TRUE(message->payload == text_of(50 * kPiece, 3));
}

TEST_F(MessageSocketTest, ThatAreCutOffByADeathNeverArrive) {
  pair_.worker.send(MessageKind::kReport, 1, "whole");
  pair_.worker.post(MessageKind::kReport, 2, text_of(100 * kPiece, 4));
  const MessageSocket gone = std::move(pair_.worker);
  ::shutdown(gone.fd(), SHUT_RDWR);
  expect(pair_.agent, MessageKind::kReport, 1, "whole");
  bool closed = false;
  EXPECT_FALSE(pair_.agent.try_receive(closed));
  EXPECT_TRUE(closed);
}

TEST_F(MessageSocketTest, NonsenseIsRefused) {
  bool closed = false;
  send_raw("x");
  EXPECT_THROW(pair_.agent.try_receive(closed), CommunicationError);
  send_raw(std::string(100, 'x'));
  EXPECT_THROW(pair_.agent.try_receive(closed), CommunicationError);
  send_raw(std::string(kPiece + 100, '\0'));
  EXPECT_THROW(pair_.agent.try_receive(closed), CommunicationError);
}

// One that announces more than memory has, and one that does not go on as it began.
TEST_F(MessageSocketTest, LyingLengthsAreRefused) {
  pair_.worker.send(MessageKind::kReport, 5, "");
  std::string piece(64, '\0');
  piece.resize(static_cast<std::size_t>(::recv(pair_.agent.fd(), piece.data(), piece.size(), 0)));
  bool closed = false;
  std::string lie = piece;
  lie.replace(lie.size() - 8, 8, std::string(8, '\x7f'));  // bytes to follow
  send_raw(lie);
  EXPECT_THROW(pair_.agent.try_receive(closed), CommunicationError);
  lie.replace(lie.size() - 8, 8, std::string("\x10\0\0\0\0\0\0\0", 8));
  send_raw(lie + "x");
  EXPECT_FALSE(pair_.agent.try_receive(closed));
  send_raw(piece);
  EXPECT_THROW(pair_.agent.try_receive(closed), CommunicationError);
}

}  // namespace
}  // namespace kangpt::sharding
