// The collective operations of a training step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kangpt::training {

// Every rank calls the same operations in the same order. A flat buffer has P elements, P divisible by the world size
// N; rank r's *range* is elements [r * P / N, (r + 1) * P / N). Buffers are on the device of the communicator.
// Operations block until their result may be read. Not thread-safe. Throws CommunicationError.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const noexcept = 0;
  virtual int world_size() const noexcept = 0;

  // On return this rank's range of `flat` holds the sum over ranks of that range; the rest of `flat` is unspecified.
  // With reduction TREE the sum is the balanced binary tree over ranks 0..N-1 in fp32: ((0+1)+(2+3))+...
  virtual void reduce_scatter(std::span<float> flat) = 0;

  // On return `flat` holds every rank's `mine`, in rank order. `mine` has P / N elements and may lie inside `flat`.
  virtual void all_gather(std::span<const float> mine, std::span<float> flat) = 0;

  // A few host values of every rank, [N, mine.size()], in rank order.
  virtual std::vector<double> all_gather_scalars(std::span<const double> mine) = 0;
};

// The sum over ranks of each value, in tree order: every rank gets the same bits, whatever the world size, if `mine`
// are sums in tree order themselves.
std::vector<double> all_reduce(Communicator& communicator, const std::vector<double>& mine);

}  // namespace kangpt::training
