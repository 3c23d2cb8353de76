// How a split's tokens are cut into samples, the rows of batches.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "config/run_config.hpp"
#include "data_pipeline/shards/dataset.hpp"

namespace kangpt::data {

// Random access to samples. One thread at a time.
class Samples {
 public:
  virtual ~Samples() = default;
  virtual std::uint64_t size() const noexcept = 0;
  // Of all samples.
  virtual std::uint64_t tokens() const noexcept = 0;
  // Ids in a full row: columns of inputs + 1.
  virtual std::size_t row_ids() const noexcept = 0;
  // Fills the front of `ids` (row_ids() long) and returns how many were filled, at least 2 unless the sample has less.
  virtual std::size_t read(std::uint64_t sample, std::span<std::int64_t> ids) = 0;
  // Has the system read samples [first, first + count), count > 0, from the disk in the background.
  virtual void read_ahead(std::uint64_t first, std::uint64_t count) = 0;
};

// PACKED: sample i is tokens [i T, (i + 1) T] of all stories one after the other: each token but the first is a target
// once, what is left at the end is not used. STORY: the first T ids of story i. PADDED: story after story, each cut
// into rows of T inputs.
std::unique_ptr<Samples> open_samples(TokenStore store, config::DataMode mode, std::uint64_t sequence_length);

}  // namespace kangpt::data
