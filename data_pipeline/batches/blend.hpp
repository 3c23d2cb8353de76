// Which of several sources each sample comes from.
#pragma once

#include <cstdint>
#include <vector>

namespace kangpt::data {

// A fixed pattern of 8,192 places, repeated for ever, in which each source has its share of places, evenly spread. So
// the source of any sample is known without looking at the samples before it.
class Blend {
 public:
  // Weights are positive and count relative to each other. A source gets one place of the pattern at least.
  explicit Blend(const std::vector<double>& weights);

  struct Place {
    std::size_t source = 0;
    std::uint64_t position = 0;  // how many samples of this source came before
  };
  Place at(std::uint64_t sample) const noexcept;

 private:
  struct Entry {
    std::uint32_t source;
    std::uint32_t rank;  // among the places of this source
  };
  std::vector<std::uint64_t> shares_;  // places of each source
  std::vector<Entry> pattern_;
};

}  // namespace kangpt::data
