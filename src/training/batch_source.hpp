// Where training and validation batches come from.
#pragma once

#include <cstdint>
#include <vector>

namespace kangpt::training {

// Rows of one logical shard for one step. All three arrays are [rows, time], row-major.
struct MicroBatch {
  std::int64_t rows = 0;
  std::int64_t time = 0;
  std::vector<std::int64_t> inputs;   // token ids
  std::vector<std::int64_t> targets;  // the id that follows each input
  std::vector<float> mask;            // 1 where the target counts in the loss, else 0
};

// A pure function from (batch index, logical shard) to tokens: any world size sees the same samples in the same place.
// Not thread-safe; one object a worker.
class BatchSource {
 public:
  virtual ~BatchSource() = default;

  // The rows of `logical_shard` (0 <= logical_shard < V) in global batch `batch` (0-based, counted over all epochs).
  // Each has batch_size / V rows. Throws DataError where the data proves corrupt.
  virtual MicroBatch micro_batch(std::uint64_t batch, int logical_shard) = 0;

  // Whole batches in one epoch, rounded up; at least 1.
  virtual std::uint64_t batches_per_epoch() const = 0;
};

}  // namespace kangpt::training
