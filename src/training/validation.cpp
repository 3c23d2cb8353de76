#include "training/validation.hpp"

#include <vector>

#include "base/tree_sum.hpp"
#include "training/batch_tensors.hpp"

namespace kangpt::training {

operations::LossSum validation_loss(const model::Transformer& network, BatchSource& source, const ShardSpan& shards,
                                    Communicator& communicator, std::uint64_t batches) {
  const std::uint64_t count = batches == 0 ? source.batches_per_epoch() : std::min(batches, source.batches_per_epoch());
  std::vector<double> losses(static_cast<std::size_t>(shards.count));
  std::vector<double> tokens(losses.size());
  for (std::uint64_t batch = 0; batch < count; ++batch) {
    for (std::size_t i = 0; i < losses.size(); ++i) {
      MicroBatch rows = source.micro_batch(batch, shards.first + static_cast<int>(i));
      const BatchTensors tensors = to_tensors(rows);
      const operations::LossSum sum = network.loss(tensors.inputs, tensors.targets, tensors.mask);
      losses[i] += sum.loss;
      tokens[i] += sum.tokens;
    }
  }
  const std::vector<double> totals = all_reduce(communicator, {base::tree_sum(losses), base::tree_sum(tokens)});
  return {totals[0], totals[1]};
}

}  // namespace kangpt::training
