// This rank's share of the training state, and the part of a step that is divided among ranks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "io/training_state.hpp"

namespace kangpt::training {

// Elements [begin, end) of the flat buffer whose learning rate is multiplied by a factor, or a matrix that Muon
// updates.
struct RateRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  double factor = 1;
  std::vector<double> cycle = {};  // multiplies it once more, each element in turn, from the first again; empty: 1
  std::uint64_t rows = 0;          // of the matrix; 0: AdamW
};

// One update by AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization"), or by Muon (Jordan et al.,
// 2024) for the matrices among `rates`, with everything already decided.
struct OptimizerUpdate {
  double learning_rate = 0;
  std::span<const RateRange> rates = {};  // in order, without overlap; what they leave out has factor 1
  std::span<const double> cycle = {};     // of the RateRange, if the update is of one
  std::uint64_t cycle_start = 0;          // where in the cycle the first element is
  double beta1 = 0;
  double beta2 = 0;
  double epsilon = 0;
  double weight_decay = 0;    // decoupled: p -= learning_rate * weight_decay * p
  double gradient_scale = 1;  // multiplies the summed gradient: 1 / tokens, and the clipping factor
  std::uint64_t t = 1;        // updates including this one, for the bias correction
  double muon_momentum = 0;
  double average_decay = 0;   // of the average of the parameters, where one is kept
  bool is_of_matrix = false;  // if the update is of a RateRange: whether that is a matrix
};

// Hashes of the parameters in this process.
struct ParameterHashes {
  std::vector<std::uint64_t> copied_ranges;  // of each rank's range as it lies in the parameter buffer
  std::uint64_t own_range = 0;               // of this rank's range where the optimizer keeps it
};

// Owned by a worker, used by its trainer in the order of a step: add_gradient() for each of its logical shards,
// reduce_gradients(), squared_gradient_norm(), then update() or keep(), gather_parameters(), and publish() where a
// snapshot is due. Not thread-safe.
class ShardedState {
 public:
  virtual ~ShardedState() = default;

  // The gradient buffer holds the gradient of the next of this rank's logical shards: adds it to the others. The buffer
  // is zero before the first one, and after this call unless it was the last one.
  virtual void add_gradient() = 0;
  // Sums over ranks; afterwards this rank knows the total gradient of its range.
  virtual void reduce_gradients() = 0;
  // Of this rank's range of the reduced gradient, summed in an order that does not depend on the world size. The host
  // waits for the device here, so that all is there that was queued before.
  virtual double squared_gradient_norm() = 0;
  virtual void update(const OptimizerUpdate& update) = 0;
  // Leaves parameters, moments and average as they are: the step is skipped.
  virtual void keep() = 0;
  // The parameter buffer gets every rank's range, the gradient buffer zeros.
  virtual void gather_parameters() = 0;
  // The parameter buffer gets the average of the parameters instead, until the next gather_parameters(). REQUIRES: one
  // is kept.
  virtual void gather_average() = 0;
  // REQUIRES: no update() since the last gather_parameters().
  virtual ParameterHashes parameter_hashes() const = 0;
  // What update() wrote last becomes the snapshot of state.step, in memory that survives this process. `to_disk`: the
  // agents write it as a checkpoint too.
  enum class Destination { kMemory, kDisk };
  virtual void publish(const io::TrainingState& state, Destination destination) = 0;
  // For how long snapshots have held up training beside publish(), since this was asked last.
  virtual double take_late_seconds() { return 0; }
};

}  // namespace kangpt::training
