#include "training/batch_tensors.hpp"

namespace kangpt::training {

BatchTensors to_tensors(MicroBatch& batch) {
  const std::array<std::int64_t, 2> shape = {batch.rows, batch.time};
  return {at::from_blob(batch.inputs.data(), shape, at::kLong), at::from_blob(batch.targets.data(), shape, at::kLong),
          at::from_blob(batch.mask.data(), shape, at::kFloat)};
}

}  // namespace kangpt::training
