// Which elements of an activation a training step leaves out (Srivastava et al., "Dropout", 2014).
#pragma once

#include <cmath>
#include <cstdint>

namespace kangpt::operations {

// A pure function of the run's seed and of where an element is. No generator has a state, so that neither ranks nor
// threads nor restarts make a difference.
//   element p = row * channels + channel, rows counted over all of the step's batch; block = p / 128
//   Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011) of key `seed` and counter
//   {16 * block + lane (64 bits), step (32 bits), place + 2^12 * (step / 2^32)}, lane = p % 16, gives 8 numbers of 16
//   bits; the element stays where number p % 128 / 16 is less than kept().
struct Dropout {
  double probability = 0;       // of an element to be left out; 0: none is
  std::uint64_t seed = 0;       // of the run
  std::uint64_t step = 0;       // from 1
  std::uint64_t first_row = 0;  // of the activation, counted over all of the step's batch
  std::uint32_t place = 0;      // in the network, less than `places` and than 4096
  std::uint32_t places = 1;     // that there are

  // Of 2^16, at least 1.
  std::uint32_t kept() const noexcept {
    const auto most = static_cast<std::uint32_t>(std::lround((1 - probability) * kNumbers));
    return most > 0 ? most : 1;
  }
  // What stays is multiplied by it, so that the expectation stays too.
  double scale() const noexcept { return kNumbers / kept(); }
  Dropout at(std::uint32_t other_place) const noexcept {
    Dropout other = *this;
    other.place = other_place;
    return other;
  }

  static constexpr double kNumbers = 65536;
  static constexpr std::int64_t kBlockElements = 128;
  static constexpr std::int64_t kLanes = 16;
  static constexpr std::uint32_t kMostPlaces = 4096;
};

}  // namespace kangpt::operations
