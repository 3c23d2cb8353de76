// One optimizer step after the other.
#pragma once

#include <cstdint>
#include <vector>

#include "config/run_config.hpp"
#include "io/training_state.hpp"
#include "model/transformer.hpp"
#include "training/batch_source.hpp"
#include "training/communicator.hpp"
#include "training/phase.hpp"
#include "training/reports.hpp"
#include "training/sharded_state.hpp"

namespace kangpt::training {

// The logical shards of the batch that this rank computes, and on which device.
struct ShardSpan {
  int first = 0;
  int count = 1;
  at::Device device = at::kCPU;
};

// What a trainer works with; it owns none of it.
struct TrainerParts {
  model::Transformer& network;
  at::Tensor gradients;  // the flat buffer that network.backward() adds to
  BatchSource& batches;
  Communicator& communicator;
  ShardedState& state;
  PhaseObserver& phases;
};

struct TrainerOptions {
  config::OptimizerSection optimizer;
  config::NonFinite non_finite = config::NonFinite::kSkip;
  std::uint64_t total_steps = 0;
  ShardSpan shards;
};

// What ranks tell each other in the step's small message beside the loss. Each holds if any rank says so.
struct StepVotes {
  bool stop = false;        // a signal arrived: end after this step
  bool checkpoint = false;  // write this step to disk
};

// Runs steps that are the same bits at every world size. Not thread-safe.
class Trainer {
 public:
  Trainer(TrainerParts parts, TrainerOptions options, const io::TrainingState& state);

  // Forward, backward, reduction, update and gathering of one batch. Updates state(), but publishes nothing.
  // `votes` are this rank's on entry and everybody's on return. Throws Error where the loss is not finite and the
  // policy is to stop.
  StepReport step(StepVotes& votes);

  const io::TrainingState& state() const noexcept { return state_; }

 private:
  struct Totals;
  model::LossSum gradient_of_my_shards();
  Totals agree(const model::LossSum& mine, StepVotes& votes);
  void update(const Totals& totals);
  void skip(const Totals& totals);

  TrainerParts parts_;
  TrainerOptions options_;
  io::TrainingState state_;
  StepReport report_;
};

}  // namespace kangpt::training
