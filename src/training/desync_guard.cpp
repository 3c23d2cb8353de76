#include "training/desync_guard.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "base/digest.hpp"
#include "base/error.hpp"

namespace kangpt::training {
namespace {

constexpr std::size_t kValues = 4;

// 64 bits as two doubles that hold whole numbers.
std::array<double, 2> halves(std::uint64_t value) {
  return {static_cast<double>(value >> 32), static_cast<double>(value & 0xffffffffU)};
}

std::uint64_t whole(const double* pair) {
  return (static_cast<std::uint64_t>(pair[0]) << 32) | static_cast<std::uint64_t>(pair[1]);
}

}  // namespace

void check_parameters(Communicator& communicator, const ParameterHashes& mine, std::uint64_t step) {
  const auto rank = static_cast<std::size_t>(communicator.rank());
  const std::uint64_t copy = base::xxh3(std::as_bytes(std::span(mine.copied_ranges)));
  const std::array<double, 2> copy_halves = halves(copy);
  const std::array<double, 2> own_halves = halves(mine.own_range);
  const std::array<double, kValues> message = {copy_halves[0], copy_halves[1], own_halves[0], own_halves[1]};
  const std::vector<double> all = communicator.all_gather_scalars(message);
  std::vector<std::uint64_t> owned;
  bool copies_agree = true;
  for (std::size_t at = 0; at < all.size(); at += kValues) {
    copies_agree = copies_agree && whole(&all[at]) == copy;
    owned.push_back(whole(&all[at + 2]));
  }
  const std::string where =
      "rank " + std::to_string(rank) + " is out of step with the others at step " + std::to_string(step) + ": ";
  if (mine.copied_ranges[rank] != mine.own_range)
    throw InternalError(where + "its range of the parameters changed in memory");
  if (!copies_agree && copy != base::xxh3(std::as_bytes(std::span(owned))))
    throw InternalError(where + "its copy of the parameters changed in memory");
}

}  // namespace kangpt::training
