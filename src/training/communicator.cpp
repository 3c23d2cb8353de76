#include "training/communicator.hpp"

#include "base/tree_sum.hpp"

namespace kangpt::training {

std::vector<double> all_reduce(Communicator& communicator, const std::vector<double>& mine) {
  const std::vector<double> gathered = communicator.all_gather_scalars(mine);  // [rank, value]
  std::vector<double> sums;
  std::vector<double> terms(static_cast<std::size_t>(communicator.world_size()));
  for (std::size_t value = 0; value < mine.size(); ++value) {
    for (std::size_t rank = 0; rank < terms.size(); ++rank) terms[rank] = gathered[rank * mine.size() + value];
    sums.push_back(base::tree_sum(terms));
  }
  return sums;
}

}  // namespace kangpt::training
