#include "data_pipeline/batches/block_order.hpp"

#include <algorithm>

namespace kangpt::data {
namespace {

std::uint64_t divide_up(std::uint64_t value, std::uint64_t by) {
  return value / by + (value % by != 0 ? 1 : 0);
}

}  // namespace

BlockOrder::BlockOrder(const Shape& shape, std::uint64_t seed, std::uint64_t epoch) noexcept
    : shape_(shape),
      seed_of_windows_(Permutation::key_of(seed, epoch)),
      whole_blocks_(std::max<std::uint64_t>(1, shape.samples / shape.block_samples), seed, epoch) {
  windows_ = divide_up(blocks(), shape_.window_blocks);
  shape_.window_blocks = divide_up(blocks(), windows_);
  windows_ = divide_up(blocks(), shape_.window_blocks);
}

std::uint64_t BlockOrder::blocks() const noexcept {
  return divide_up(shape_.samples, shape_.block_samples);
}

SampleRun BlockOrder::block_in_place(std::uint64_t place) const noexcept {
  const bool is_whole = place < shape_.samples / shape_.block_samples;
  const std::uint64_t first = (is_whole ? whole_blocks_(place) : place) * shape_.block_samples;
  return {first, std::min(shape_.block_samples, shape_.samples - first)};
}

SampleRun BlockOrder::window(std::uint64_t index) const noexcept {
  const std::uint64_t first = index * window_samples();
  return {first, std::min(window_samples(), shape_.samples - first)};
}

std::uint64_t BlockOrder::blocks_in(std::uint64_t window) const noexcept {
  return std::min(shape_.window_blocks, blocks() - window * shape_.window_blocks);
}

SampleRun BlockOrder::block(std::uint64_t window, std::uint64_t index) const noexcept {
  return block_in_place(window * shape_.window_blocks + index);
}

// All blocks of a window are whole but for the last of the last one: a place in it says the block and the sample.
std::uint64_t BlockOrder::operator()(std::uint64_t position) const noexcept {
  const std::uint64_t index = window_of(position);
  const SampleRun run = window(index);
  const std::uint64_t place = Permutation(run.count, seed_of_windows_, index)(position - run.first);
  return block(index, place / shape_.block_samples).first + place % shape_.block_samples;
}

}  // namespace kangpt::data
