// Reads the blocks of BlockOrder ahead.
#pragma once

#include <cstdint>

#include "data_pipeline/batches/block_order.hpp"
#include "data_pipeline/batches/samples.hpp"

namespace kangpt::data {

// Blocks of about 2 MiB, where tokens are 2 bytes wide, in windows of 128 MiB: few enough bytes to stay in memory while
// their samples are taken in random order, and long enough that a disk reads them at its full speed. Part of what a
// checkpoint relies on: these numbers must never change.
BlockOrder::Shape block_shape_of(const Samples& samples);

// Has the system read what comes next, while samples are taken in BlockOrder: the window after the present one, block
// by block as that one is used up, and a window that begins unexpectedly at once. Borrows the samples.
class BlocksAhead {
 public:
  BlocksAhead(Samples& samples, std::uint64_t seed) : samples_(samples), shape_(block_shape_of(samples)), seed_(seed) {}

  // Sample `position` of an epoch is being read.
  void at(std::uint64_t epoch, std::uint64_t position);

 private:
  struct Window {
    std::uint64_t epoch = 0;
    std::uint64_t index = ~std::uint64_t{0};  // none
    bool operator==(const Window&) const = default;
  };
  void read(const Window& window, std::uint64_t blocks);

  Samples& samples_;
  BlockOrder::Shape shape_;
  std::uint64_t seed_;
  Window present_;
  Window next_;
  std::uint64_t blocks_read_ = 0;  // of next_
};

}  // namespace kangpt::data
