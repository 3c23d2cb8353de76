// Copies of snapshots on another node, so that the loss of a node loses no more than a crash.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "sharding/agent_protocol.hpp"
#include "sharding/mpi/copy_transfer.hpp"
#include "sharding/mpi/mpi_group.hpp"

namespace kangpt::launcher {

struct CopyPlan {
  int holder = -1;  // the rank that keeps this rank's copies; -1: no rank has copies
  struct Held {
    int source = 0;
    sharding::ExchangeMemory memory;  // of two slots
  };
  std::vector<Held> held;            // what this rank keeps
  std::uint64_t interval_steps = 1;  // from one set of copies to the next, at least
};

// Rank 0 names a step, the newest that it has a snapshot of; each rank holds its slot with that step and sends it to
// its holder; once all copies are whole, rank 0 names the next one. So copies skip steps where the link is slower than
// they come, and at any moment all ranges of the newest complete set lie on two nodes: held in the memory of their
// rank, and in that of its holder.
//
//   rank 0 --kSetTopic: number, step, kept step--> all --pieces--> holders --kOutcomeTopic--> rank 0
//
// A rank that comes too late, since its worker has overwritten the step, says so, and rank 0 names another one. Nothing
// here waits for anything. Borrows group and memory; single-threaded.
class NeighbourCopies {
 public:
  NeighbourCopies(sharding::MpiGroup& group, const sharding::ExchangeMemory& memory, CopyPlan plan);

  // To be called often, but for moments in which the link is needed for what workers wait for.
  void progress();
  // There is something to do now or in a moment.
  bool busy() const;
  // The workers begin again behind `step`, from which on everything may become another: what was noted or copied of
  // later steps does not count any more. All ranks call it at the same restart; it does not wait for them.
  void go_back_to(std::uint64_t step);
  // Leaves nothing on its way. Collective: before the group ends.
  void finish();

  // The newest step of which rank 0 knows that all copies are whole; -1: none.
  std::int64_t complete_step() const noexcept { return complete_step_; }

  // MpiGroup topics that this class uses, beside sharding::kPieceTopic.
  static constexpr int kSetTopic = 21;
  static constexpr int kOutcomeTopic = 22;
  static constexpr int kEndTopic = 23;

 private:
  enum class Outcome : std::uint64_t { kComplete, kMissed };
  struct OutcomeMessage {
    std::uint64_t set = 0;
    Outcome outcome{};
  };
  bool is_on() const noexcept { return plan_.holder >= 0; }
  bool is_due() const;
  void lead();
  void name_next_set();
  void look_for_set();
  void begin(const sharding::CopySet& set);
  void take_pieces();
  void tell(const sharding::CopySet& set, Outcome outcome);

  sharding::MpiGroup& group_;
  const sharding::ExchangeMemory& memory_;
  CopyPlan plan_;
  sharding::CopySender sender_;
  std::deque<sharding::CopyReceiver> receivers_;
  std::uint64_t restarts_ = 0;               // the upper half of the numbers of sets
  std::optional<sharding::CopySet> wanted_;  // named by rank 0, and not begun here yet
  std::uint64_t next_step_ = 1;              // the next set is of this step or a later one
  // Rank 0:
  std::optional<sharding::CopySet> led_;  // under way
  int complete_copies_ = 0;               // of it
  std::uint64_t sets_ = 0;
  std::int64_t complete_step_ = -1;
};

}  // namespace kangpt::launcher
