// An order of an epoch's samples that needs little memory: blocks of neighbours, mixed in windows.
#pragma once

#include <cstdint>

#include "data_pipeline/batches/permutation.hpp"

namespace kangpt::data {

// Samples [first, first + count).
struct SampleRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;

  bool operator==(const SampleRun&) const = default;
};

// Cuts the samples into blocks, takes those in pseudo-random order (a shorter last block at the end), a window of them
// at a time, and mixes the samples of a window, as WebDataset and MosaicML's StreamingDataset do; but as a permutation
// that is computed on the fly: any position in constant time and memory. Same arguments: same order, on any machine.
class BlockOrder {
 public:
  struct Shape {
    std::uint64_t samples = 1;
    std::uint64_t block_samples = 1;
    std::uint64_t window_blocks = 1;  // at most; windows are equally long but for the last
  };
  BlockOrder(const Shape& shape, std::uint64_t seed, std::uint64_t epoch) noexcept;

  // position < samples
  std::uint64_t operator()(std::uint64_t position) const noexcept;

  // In the order of reading.
  std::uint64_t windows() const noexcept { return windows_; }
  std::uint64_t window_of(std::uint64_t position) const noexcept { return position / window_samples(); }
  // Positions of a window.
  SampleRun window(std::uint64_t index) const noexcept;
  // The blocks of that window.
  std::uint64_t blocks_in(std::uint64_t window) const noexcept;
  SampleRun block(std::uint64_t window, std::uint64_t index) const noexcept;

 private:
  std::uint64_t blocks() const noexcept;
  std::uint64_t window_samples() const noexcept { return shape_.window_blocks * shape_.block_samples; }
  SampleRun block_in_place(std::uint64_t place) const noexcept;

  Shape shape_;
  std::uint64_t windows_ = 1;
  std::uint64_t seed_of_windows_;
  Permutation whole_blocks_;
};

}  // namespace kangpt::data
