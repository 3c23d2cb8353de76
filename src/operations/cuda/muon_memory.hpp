// What Muon's kernels work with from one update to the next: the table of the matrices, and scratch memory.
#pragma once

#include <span>
#include <vector>

#include "operations/cuda/muon.hpp"
#include "operations/cuda/tensors.hpp"
#include "operations/flat_operations.hpp"

namespace kangpt::operations::cuda {

class MuonMemory {
 public:
  // Large matrices keep a GPU busy one by one: no more go together than have scratch memory of `most_scratch` elements,
  // or one that has more.
  explicit MuonMemory(std::int64_t most_scratch = std::int64_t{16} << 20) : most_scratch_(most_scratch) {}

  // As those of FlatOperations.
  void directions(const MuonTensors& tensors, const MuonUpdate& update, std::span<const OwnMatrix> matrices);
  void parameters(const at::Tensor& parameters, const at::Tensor& directions, const MuonUpdate& update,
                  std::span<const OwnMatrix> matrices);

 private:
  void place(std::span<const OwnMatrix> matrices, const at::TensorOptions& options);

  std::int64_t most_scratch_;
  std::vector<OwnMatrix> placed_;
  at::Tensor table_;               // as bytes
  std::vector<MuonTable> tables_;  // parts of it: those that go together
  Reserve copies_, squares_, sums_;
};

}  // namespace kangpt::operations::cuda
