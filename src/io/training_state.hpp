// What a snapshot and a checkpoint hold beside the flat ranges.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/fields.hpp"

namespace kangpt::io {

// Batches that are passed over, since a loss or gradient on them was not finite (fault.non_finite ROLLBACK). None is
// forgotten: it would be met again behind an older checkpoint. A run that needs more than there is room for has to end.
struct LeftOutBatches {
  std::array<std::uint64_t, 256> newest{};  // [0] is the newest
  std::uint32_t count = 0;

  bool is_full() const noexcept { return count == newest.size(); }
  bool contains(std::uint64_t batch) const noexcept {
    return std::find(newest.begin(), newest.begin() + count, batch) != newest.begin() + count;
  }
  // Nothing happens where is_full().
  void add(std::uint64_t batch) noexcept {
    if (is_full()) return;
    std::shift_right(newest.begin(), newest.begin() + count + 1, 1);
    newest[0] = batch;
    ++count;
  }
  bool operator==(const LeftOutBatches&) const = default;
};

// Trivially copyable: lives in shared memory too. Counters are totals since the start of the run. In a checkpoint made
// of imported weights, dataset_fingerprint, logical_shards and threads are 0: undecided until a run starts from it.
struct TrainingState {
  std::uint64_t step = 0;                 // optimizer steps done (a skipped step counts)
  std::uint64_t updates = 0;              // AdamW updates applied: the t of its bias correction
  std::uint64_t batches = 0;              // global batches consumed or left out: position in the sample order
  std::uint64_t tokens = 0;               // unmasked targets seen
  std::uint64_t skipped_steps = 0;        // steps without an update because the loss or gradient was not finite
  std::uint64_t seed = 0;                 // run.seed
  std::uint64_t dataset_fingerprint = 0;  // of the training data
  std::uint64_t batch_size = 0;           // sequences a step
  std::uint32_t logical_shards = 0;       // V
  std::uint32_t threads = 0;              // of each worker; results may depend on it
  // Running mean and variance of the loss for the spike detector, and the number of losses in them.
  double loss_mean = 0;
  double loss_variance = 0;
  std::uint64_t loss_count = 0;
  double last_loss = 0;
  LeftOutBatches left_out;
  std::uint64_t skipped_in_a_row = 0;  // of skipped_steps, those since the last update
  // Of the validations so far.
  std::uint64_t best_step = 0;  // 0: there was none with a finite loss
  double best_validation_loss = 0;
  std::uint64_t validations_since_best = 0;
  // Weights in their average: those with which it began, and those of each update since. 0: none is kept.
  std::uint64_t averaged_weights = 0;

  KANGPT_FIELDS(step, updates, batches, tokens, skipped_steps, seed, dataset_fingerprint, batch_size, logical_shards,
                threads, loss_mean, loss_variance, loss_count, last_loss, skipped_in_a_row, best_step,
                best_validation_loss, validations_since_best, averaged_weights)
  bool operator==(const TrainingState&) const = default;
};

}  // namespace kangpt::io
