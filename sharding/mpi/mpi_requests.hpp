// What exchanges need of MPI, without its header.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace kangpt::sharding {

// The communicator of an MpiGroup that buffers travel in. It is apart from the one for control, so that a message that
// says what has failed never waits behind a gradient.
struct DataLane {
  int rank = 0;
  int size = 1;
  const struct MpiCommunicator* communicator = nullptr;  // defined beside MpiGroup
};

// Nonblocking calls that are in flight together, and complete together. Waits for them on destruction: MPI may not lose
// a buffer that it still uses. All functions throw CommunicationError.
class MpiRequests {
 public:
  explicit MpiRequests(const DataLane& lane);
  MpiRequests(const MpiRequests&) = delete;
  MpiRequests& operator=(const MpiRequests&) = delete;
  ~MpiRequests();

  // REQUIRES: less than 2^31 elements.
  void send(std::span<const float> values, int destination);
  void receive(std::span<float> values, int source);

  // Collectives: every rank calls them in the same order.
  void barrier();
  // The first flat.size() / ranks elements become the sum over ranks of this rank's range, in MPI's own order.
  void reduce_scatter(std::span<float> flat);
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> gathered);

  // True once all of them are complete, and if there is none.
  bool complete();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kangpt::sharding
