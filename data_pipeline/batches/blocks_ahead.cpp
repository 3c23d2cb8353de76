#include "data_pipeline/batches/blocks_ahead.hpp"

#include <algorithm>

namespace kangpt::data {
namespace {

constexpr std::uint64_t kBlockTokens = std::uint64_t{1} << 20;
constexpr std::uint64_t kWindowBlocks = 64;

}  // namespace

BlockOrder::Shape block_shape_of(const Samples& samples) {
  const std::uint64_t size = std::max<std::uint64_t>(1, samples.size());
  const std::uint64_t tokens_a_sample = std::max<std::uint64_t>(1, samples.tokens() / size);
  return {size, std::max<std::uint64_t>(1, kBlockTokens / tokens_a_sample), kWindowBlocks};
}

void BlocksAhead::at(std::uint64_t epoch, std::uint64_t position) {
  const BlockOrder order(shape_, seed_, epoch);
  const Window here{epoch, order.window_of(position)};
  if (here != present_) {
    if (here != next_) blocks_read_ = 0;
    read(here, order.blocks_in(here.index));  // what is left of it
    present_ = here;
    next_ = here.index + 1 < order.windows() ? Window{epoch, here.index + 1} : Window{epoch + 1, 0};
    blocks_read_ = 0;
  }
  const SampleRun run = order.window(here.index);
  const std::uint64_t blocks = order.blocks_in(next_.index);  // as many in every epoch
  read(next_, (position - run.first + 1) * blocks / run.count);
}

void BlocksAhead::read(const Window& window, std::uint64_t blocks) {
  if (blocks_read_ >= blocks) return;
  const BlockOrder order(shape_, seed_, window.epoch);
  for (; blocks_read_ < blocks; ++blocks_read_) {
    const SampleRun block = order.block(window.index, blocks_read_);
    samples_.read_ahead(block.first, block.count);
  }
}

}  // namespace kangpt::data
