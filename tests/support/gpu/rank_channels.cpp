#include "tests/support/gpu/rank_channels.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace kangpt::test {
namespace {

constexpr std::size_t kBufferBytes = 1 << 16;
constexpr int kYields = 200;
constexpr useconds_t kPauseMicroseconds = 100;

}  // namespace

// Zero bytes are an empty channel. Bytes [read, written) of the stream are in the buffer.
struct RankChannels::Channel {
  std::atomic<std::uint64_t> written;
  std::atomic<std::uint64_t> read;
  char data[kBufferBytes];
};

struct RankChannels::Shared {
  std::atomic<int> joined;
  std::atomic<int> left;
  std::atomic<int> broken;
  Channel channels[1];  // [ranks * ranks], from * ranks + to
};

std::string OperationHeader::text() const {
  return "kind " + std::to_string(static_cast<std::uint32_t>(kind)) + ", data type " + std::to_string(data_type) +
         ", " + std::to_string(bytes) + " bytes, collective " + std::to_string(number);
}

void Waiting::progressed() {
  last_ = std::chrono::steady_clock::now();
  pauses_ = 0;
}

bool Waiting::pause() {
  ++pauses_ < kYields ? static_cast<void>(::usleep(0)) : static_cast<void>(::usleep(kPauseMicroseconds));
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - last_;
  return patience_seconds_ <= 0 || passed.count() < patience_seconds_;
}

RankChannels::RankChannels(const std::string& file, int rank, int ranks, double patience_seconds)
    : rank_(rank), ranks_(ranks) {
  const int fd = ::open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(mapped_bytes())) != 0)
    throw std::runtime_error(file + ": " + std::strerror(errno));
  void* const memory = ::mmap(nullptr, mapped_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (memory == MAP_FAILED) throw std::runtime_error(file + ": " + std::strerror(errno));
  shared_ = static_cast<Shared*>(memory);
  shared_->joined += 1;
  Waiting waiting(patience_seconds);
  while (shared_->joined < ranks_) {
    if (!waiting.pause())
      throw std::runtime_error("only " + std::to_string(shared_->joined) + " of " + std::to_string(ranks_) +
                               " ranks have come");
  }
  ::unlink(file.c_str());
}

RankChannels::~RankChannels() {
  ::munmap(shared_, mapped_bytes());
}

std::size_t RankChannels::mapped_bytes() const noexcept {
  return sizeof(Shared) + sizeof(Channel) * static_cast<std::size_t>(ranks_ * ranks_);
}

RankChannels::Channel& RankChannels::channel(int from, int to) const noexcept {
  return shared_->channels[from * ranks_ + to];
}

// A piece of the header or of the data, as long as it lies in one piece in the buffer too.
bool RankChannels::move_piece(Transfer& transfer, Channel& channel) {
  const bool sends = transfer.direction == Transfer::Direction::kSend;
  const std::uint64_t at = sends ? channel.written.load() : channel.read.load();
  const std::uint64_t room = sends ? kBufferBytes - (at - channel.read.load()) : channel.written.load() - at;
  const bool in_header = transfer.moved < sizeof(OperationHeader);
  const std::uint64_t section_end =
      in_header ? sizeof(OperationHeader) : sizeof(OperationHeader) + transfer.header.bytes;
  const std::uint64_t size = std::min({room, kBufferBytes - at % kBufferBytes, section_end - transfer.moved});
  if (size == 0) return false;
  OperationHeader expected = transfer.header;
  char* const header = reinterpret_cast<char*>(&expected);
  char* const mine = in_header ? header + transfer.moved : transfer.data + (transfer.moved - sizeof expected);
  char* const theirs = channel.data + at % kBufferBytes;
  if (sends) {
    std::memcpy(theirs, mine, size);
    channel.written += size;
  } else if (in_header && std::memcmp(theirs, mine, size) != 0) {
    OperationHeader found = expected;
    std::memcpy(reinterpret_cast<char*>(&found) + transfer.moved, theirs, size);
    throw std::runtime_error("rank " + std::to_string(rank_) + " expects of rank " + std::to_string(transfer.peer) +
                             ": " + expected.text() + "; but gets: " + found.text());
  } else {
    if (!in_header) std::memcpy(mine, theirs, size);
    channel.read += size;
  }
  transfer.moved += size;
  return true;
}

bool RankChannels::advance(Transfer& transfer) {
  const bool sends = transfer.direction == Transfer::Direction::kSend;
  Channel& between = sends ? channel(rank_, transfer.peer) : channel(transfer.peer, rank_);
  const std::uint64_t total = sizeof(OperationHeader) + transfer.header.bytes;
  bool moved = false;
  while (transfer.moved < total && move_piece(transfer, between)) moved = true;
  if (sends && moved && transfer.moved == total) transfer.end_at = between.written;
  return moved;
}

bool RankChannels::is_done(const Transfer& transfer) const {
  if (transfer.moved < sizeof(OperationHeader) + transfer.header.bytes) return false;
  return transfer.direction == Transfer::Direction::kReceive || channel(rank_, transfer.peer).read >= transfer.end_at;
}

void RankChannels::break_off() noexcept {
  shared_->broken = 1;
}

bool RankChannels::is_broken() const noexcept {
  return shared_->broken != 0;
}

int RankChannels::leave() noexcept {
  return ++shared_->left;
}

int RankChannels::left() const noexcept {
  return shared_->left;
}

}  // namespace kangpt::test
