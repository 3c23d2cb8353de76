// One optimizer step after the other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "config/run_config.hpp"
#include "io/training_state.hpp"
#include "model/transformer.hpp"
#include "training/batch_source.hpp"
#include "training/communicator.hpp"
#include "training/phase.hpp"
#include "training/reports.hpp"
#include "training/sharded_state.hpp"

namespace kangpt::training {

// The logical shards of the batch that this rank computes.
struct ShardSpan {
  int first = 0;
  int count = 1;
};

// What a trainer works with; it owns none of it.
struct TrainerParts {
  model::Transformer& network;
  BatchSource& batches;
  Communicator& communicator;
  ShardedState& state;
  PhaseObserver& phases;
};

struct TrainerOptions {
  config::OptimizerSection optimizer;
  std::vector<RateRange> rates;  // of rate_ranges()
  config::FaultSection fault;
  std::uint64_t total_steps = 0;
  ShardSpan shards;
};

// What ranks tell each other in the step's small message beside the loss.
struct StepVotes {
  // Each holds if any rank says so.
  bool stop = false;        // a signal arrived: end after this step
  bool checkpoint = false;  // write this step to disk
  // Of the step before, for SnapshotPace; summed over ranks.
  double step_seconds = 0;
  double snapshot_seconds = 0;
};

// Loss or gradient of a batch is not finite and the policy is ROLLBACK: to be left out by all ranks' next workers.
struct BadBatch : Error {
  BadBatch(std::uint64_t index, const std::string& message) : Error(ExitCode::kInternal, message), batch(index) {}
  std::uint64_t batch;
};

// Runs steps that are the same bits at every world size. Not thread-safe.
class Trainer {
 public:
  Trainer(TrainerParts parts, TrainerOptions options, const io::TrainingState& state);

  // Forward, backward, reduction, update and gathering of one batch. Updates state(), but publishes nothing.
  // `votes` are this rank's on entry and everybody's on return. Where loss or gradient are not finite, it throws Error
  // (policy STOP, or SKIP too often in a row) or BadBatch (ROLLBACK). InternalError where this rank's memory is wrong.
  StepReport step(StepVotes& votes);

  // Remembers the loss of a validation at the newest step.
  void validated(double loss);

  const io::TrainingState& state() const noexcept { return state_; }

 private:
  struct Totals;
  std::vector<model::TrainingLoss> gradients_of_my_shards();
  Totals agree(const std::vector<model::TrainingLoss>& mine, StepVotes& votes);
  void update(const Totals& totals);
  double average_decay() const;
  void skip(const Totals& totals);
  std::string end_of_patience() const;
  void watch_loss();

  TrainerParts parts_;
  TrainerOptions options_;
  io::TrainingState state_;
  StepReport report_;
};

}  // namespace kangpt::training
