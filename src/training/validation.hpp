// The mean loss over a split, the same bits at every world size.
#pragma once

#include "model/transformer.hpp"
#include "training/batch_source.hpp"
#include "training/communicator.hpp"
#include "training/trainer.hpp"

namespace kangpt::training {

// Runs `batches` batches of `source` (all of one epoch if 0), this rank its own logical shards of each. Every rank gets
// the sums over all ranks: of each logical shard over the batches, then over the shards in tree order.
operations::LossSum validation_loss(const model::Transformer& network, BatchSource& source, const ShardSpan& shards,
                                    Communicator& communicator, std::uint64_t batches);

}  // namespace kangpt::training
