// The agents of a job as a group: MPI, and the only file that calls it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sharding/mpi/exchange.hpp"
#include "sharding/mpi/life_signs.hpp"
#include "sharding/mpi/mpi_requests.hpp"

namespace kangpt::sharding {

// Initialises MPI (FUNNELED) on construction and finalises it on destruction: one object a process, used from the
// thread that made it. Owns three communicators: control (small messages,
// agreement), data (buffers) and background (copies). Waiting sleeps
// between polls, so an agent costs its worker no core. All functions throw CommunicationError with MPI's own message.
class MpiGroup {
 public:
  MpiGroup();
  ~MpiGroup();
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;

  int rank() const noexcept;
  int size() const noexcept;
  // Position among the ranks of this node, and their number.
  int local_rank() const noexcept;
  int local_size() const noexcept;
  // Name and version of the MPI library, as it tells them: "Open MPI v4.1.4".
  static std::string library();

  // --- Control. The collectives block; every rank calls them in the same order. ---
  // Rank 0's text on every rank.
  std::string broadcast(const std::string& text);
  // Every rank's text, in rank order.
  std::vector<std::string> all_gather(const std::string& mine);

  // A message to one rank; returns at once and never blocks. `topic` is 1..99.
  void post(int destination, int topic, const std::string& text);
  struct Posted {
    int source = 0;
    int topic = 0;
    std::string text;
  };
  // The next message of `topic` that has arrived, if any.
  std::optional<Posted> receive(int topic);

  // --- Signs of life, see LifeSigns. Whoever waits gives them; the functions here that block do it themselves. ---
  // REQUIRES: called several times a second, wherever an agent waits or serves. Where the agent of the rank before has
  // been silent for longer than the patience, it says so and ends the job with 76, since agents can't be replaced.
  void attend();
  // At least 10 s; 20 minutes until it is set.
  void set_patience(double seconds) noexcept { signs_.set_patience(seconds); }
  // Runs `work`, which may take long, in a thread and attends until it ends. Rethrows what it throws. REQUIRES: it does
  // not use this object.
  void attend_while(const std::function<void()>& work);

  // --- Data ---
  // Rank r's range of `flat` becomes the sum over ranks of it: the binary tree over ranks (tree), or MPI's own order
  // (but the tree's in a buffer of more than `most_elements`: MPI counts are int, and Open MPI multiplies them by the
  // ranks).
  std::unique_ptr<Exchange> tree_reduce_scatter(std::span<float> flat);
  std::unique_ptr<Exchange> fast_reduce_scatter(std::span<float> flat, std::uint64_t most_elements = kMostInOneCall);
  static constexpr std::uint64_t kMostInOneCall = 0x7fffffff;
  // `flat` becomes every rank's `mine` in rank order. REQUIRES: flat.size() == size() * mine.size().
  std::unique_ptr<Exchange> all_gather(std::span<const float> mine, std::span<float> flat);
  // `gathered` becomes every rank's `mine`. REQUIRES: both outlive the exchange, gathered.size() == size() *
  // mine.size().
  std::unique_ptr<Exchange> all_gather_bytes(std::span<const std::byte> mine, std::span<std::byte> gathered);

  // For what may wait: requests that neither exchanges nor control messages meet.
  DataLane background_lane() const noexcept;

  // Ends all processes of the job with this exit code, without agreement. For errors that only one rank sees.
  [[noreturn]] void abort(int exit_code) noexcept;

 private:
  struct State;
  void wait_for(const std::function<bool()>& done);
  bool all_delivered();
  // Before MPI is finalised: until nobody needs anybody's signs any more, and none is on its way.
  void say_farewell();

  std::unique_ptr<State> state_;
  LifeSigns signs_;
  bool leaving_ = false;
};

// "Open MPI v4.1.4, ..." of the library in use.
std::string mpi_library_version();

}  // namespace kangpt::sharding
