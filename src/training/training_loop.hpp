// A run: steps, validation, samples, snapshots and checkpoints until the end or a signal.
#pragma once

#include <functional>
#include <string>

#include "config/run_config.hpp"
#include "training/trainer.hpp"

namespace kangpt::training {

struct LoopOptions {
  std::uint64_t total_steps = 0;
  std::uint64_t patience = 0;      // train.patience
  std::uint64_t decay_begin = 0;   // of decay_begin(): this step goes to disk
  bool validates_average = false;  // of the weights, instead of these; samples are of it too
  config::CheckpointSection checkpoint;
  config::LogSection log;
};

// What a loop works with; it owns none of it.
struct LoopParts {
  Trainer& trainer;
  TrainerParts parts;
  Reporter& reporter;
  BatchSource* validation = nullptr;           // none: no validation
  std::function<std::string()> sample;         // none: no samples; called on rank 0 only
  std::function<bool()> stop_requested;        // has this rank been asked to stop?
  std::function<bool()> checkpoint_requested;  // has this rank been asked for a checkpoint?
};

enum class Outcome { kDone, kStopped };

// Runs until total_steps, until patience ends or until any rank was asked to stop. The last step is always published to
// disk. Every rank calls it; all return the same.
Outcome run_training(const LoopParts& parts, const LoopOptions& options, const ShardSpan& shards);

}  // namespace kangpt::training
