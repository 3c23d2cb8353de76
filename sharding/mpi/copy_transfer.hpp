// How a slot travels to an agent of another node: piece by piece, in the background.
//
// Neither side ever waits for the other. The sender announces each piece by a small message and has few of them on
// their way, so that an exchange that begins meanwhile finds the link nearly free; it may leave a slot half sent at any
// piece. The receiver asks MPI for a piece only once it was announced, so nothing has to be taken back then.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>

#include "sharding/agent_protocol.hpp"
#include "sharding/mpi/mpi_group.hpp"

namespace kangpt::sharding {

// Copies of one step of all ranks, which are of use together only.
struct CopySet {
  std::uint64_t number = 0;  // grows from set to set
  std::uint64_t step = 0;
  std::int64_t kept_step = -1;  // of the newest set that is complete: its copies stay; -1: there is none
};

// Announces a piece: MpiGroup topic kPieceTopic.
struct PieceHeader {
  CopySet set;
  std::uint64_t index = 0;
  std::uint64_t count = 0;
  Publication publication;  // of the slot
};
inline constexpr int kPieceTopic = 20;

// Sends slots to one rank, one at a time. Borrows the group. Not thread-safe.
class CopySender {
 public:
  CopySender(MpiGroup& group, int holder) : group_(group), holder_(holder) {}

  // From now on sends this one, and leaves what is not on its way yet of the one before. REQUIRES: nobody writes to
  // `values` until another one is begun or idle().
  void begin(const CopySet& set, std::span<const float> values, const Publication& publication);
  void stop() noexcept { header_.count = 0; }
  void progress();

  // Nothing of any slot is on its way, or waits to be.
  bool idle() const noexcept { return in_flight_.empty() && header_.index >= header_.count; }
  // Pieces announced so far, of all slots.
  std::uint64_t pieces() const noexcept { return pieces_; }

 private:
  MpiGroup& group_;
  int holder_;
  PieceHeader header_;  // of the next piece
  std::span<const float> values_;
  std::deque<std::unique_ptr<MpiRequests>> in_flight_;
  std::uint64_t pieces_ = 0;
};

// Keeps the copies of one rank: that of the newest complete set, and the one that arrives. Borrows the group and views
// the memory. Not thread-safe.
class CopyReceiver {
 public:
  CopyReceiver(MpiGroup& group, int source, const ExchangeMemory& memory)
      : group_(group), source_(source), memory_(memory) {}

  int source() const noexcept { return source_; }
  void announced(const PieceHeader& header) { announced_.push_back(header); }
  // The set of which this rank's copy is complete now, and noted.
  std::optional<CopySet> progress();

  // Nothing is on its way, as far as it is known here.
  bool idle() const noexcept { return in_flight_.empty() && announced_.empty(); }
  // Pieces that have arrived, of all slots.
  std::uint64_t pieces() const noexcept { return pieces_; }
  // What is newer than `step`, or of a set before `first_number` and not complete yet, never counts.
  void forget(std::uint64_t step, std::uint64_t first_number);

 private:
  void begin(const PieceHeader& header);

  MpiGroup& group_;
  int source_;
  ExchangeMemory memory_;
  std::deque<PieceHeader> announced_;
  std::deque<std::unique_ptr<MpiRequests>> in_flight_;
  PieceHeader arriving_;    // its newest piece
  int slot_ = 0;            // where it goes
  std::uint64_t here_ = 0;  // its pieces that have arrived
  bool counts_ = false;     // it is to be noted once it is complete
  std::uint64_t first_number_ = 0;
  std::uint64_t pieces_ = 0;
};

}  // namespace kangpt::sharding
