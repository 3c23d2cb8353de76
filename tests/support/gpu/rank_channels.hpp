// Byte streams between the ranks of one communicator of the double of NCCL, in a file that all of them map.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace kangpt::test {

// What a sender says of its bytes, and a receiver expects of them.
struct OperationHeader {
  enum class Kind : std::uint32_t { kPointToPoint = 1, kAllGather, kReduceScatter };
  Kind kind = Kind::kPointToPoint;
  std::uint32_t data_type = 0;  // ncclDataType_t
  std::uint64_t bytes = 0;
  std::uint64_t number = 0;  // of the collective; 0: none

  std::string text() const;
  bool operator==(const OperationHeader&) const = default;
};

// One half of a transfer that is under way.
struct Transfer {
  enum class Direction { kSend, kReceive };
  Direction direction = Direction::kSend;
  int peer = 0;
  char* data = nullptr;
  OperationHeader header;
  std::uint64_t moved = 0;   // of header and data
  std::uint64_t end_at = 0;  // of a send: where in the stream it ends, once all is there
};

// Owns the mapping. One object a rank and communicator; not thread-safe.
class RankChannels {
 public:
  // Joins `file`, made by whoever comes first, and waits for the others, for ever where `patience_seconds` is 0. The
  // file is gone once all are there. Throws std::runtime_error.
  RankChannels(const std::string& file, int rank, int ranks, double patience_seconds);
  RankChannels(const RankChannels&) = delete;
  RankChannels& operator=(const RankChannels&) = delete;
  ~RankChannels();

  // Goes on with a transfer as far as that is possible now. Whether anything moved. A send is done when the other end
  // has taken all of it, as on GPUs, where there is nowhere to leave it. Throws std::runtime_error where the two ends
  // do not mean the same.
  bool advance(Transfer& transfer);
  bool is_done(const Transfer& transfer) const;

  // One rank has found a mistake: all others end too.
  void break_off() noexcept;
  bool is_broken() const noexcept;
  // Ranks that have called it.
  int leave() noexcept;
  int left() const noexcept;

 private:
  struct Channel;
  struct Shared;
  Channel& channel(int from, int to) const noexcept;
  std::size_t mapped_bytes() const noexcept;
  bool move_piece(Transfer& transfer, Channel& channel);

  int rank_;
  int ranks_;
  Shared* shared_ = nullptr;
};

// How long to wait for something that another process does: for ever, or as long as `patience_seconds` without any
// progress.
class Waiting {
 public:
  explicit Waiting(double patience_seconds) : patience_seconds_(patience_seconds) {}
  // Something has moved.
  void progressed();
  // Nothing has: pauses, and leaves the processor to others. False where patience is at its end.
  bool pause();

 private:
  double patience_seconds_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  int pauses_ = 0;
};

}  // namespace kangpt::test
