// The agents of a job as a group: MPI, and the only file that calls it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sharding/exchange.hpp"

namespace kangpt::sharding {

// Initialises MPI (FUNNELED) on construction and finalises it on destruction: one object a process, used from the
// thread that made it. Owns two communicators: control (small messages, agreement) and data (buffers). Waiting sleeps
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

  // --- Control. The collectives block; every rank calls them in the same order. ---
  // Rank 0's text on every rank.
  std::string broadcast(const std::string& text);
  // Every rank's text, in rank order.
  std::vector<std::string> all_gather(const std::string& mine);

  // A message to one rank; returns at once and never blocks. `topic` is 0..99.
  void post(int destination, int topic, const std::string& text);
  struct Posted {
    int source = 0;
    int topic = 0;
    std::string text;
  };
  // The next message that has arrived, if any; of `topic` only where it is given.
  std::optional<Posted> receive(std::optional<int> topic = std::nullopt);

  // --- Data ---
  // Rank r's range of `flat` becomes the sum over ranks of it: the binary tree over ranks (tree), or MPI's own order.
  std::unique_ptr<Exchange> tree_reduce_scatter(std::span<float> flat);
  std::unique_ptr<Exchange> fast_reduce_scatter(std::span<float> flat);
  // `flat` becomes every rank's `mine` in rank order. REQUIRES: flat.size() == size() * mine.size().
  std::unique_ptr<Exchange> all_gather(std::span<const float> mine, std::span<float> flat);
  // `gathered` becomes every rank's `mine`. REQUIRES: both outlive the exchange, gathered.size() == size() *
  // mine.size().
  std::unique_ptr<Exchange> all_gather_bytes(std::span<const std::byte> mine, std::span<std::byte> gathered);

  // Ends all processes of the job with this exit code, without agreement. For errors that only one rank sees.
  [[noreturn]] void abort(int exit_code) noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// "Open MPI v4.1.4, ..." of the library in use.
std::string mpi_library_version();

}  // namespace kangpt::sharding
