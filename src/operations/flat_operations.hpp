// What an optimizer does with flat buffers in a device's memory; one implementation a kind of device.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "operations/operations.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations {

// Elements [begin, end) that have one learning rate, or a cycle of them.
struct RatePart {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  double learning_rate = 0;
  std::span<const double> cycle = {};  // multiplies it, each element in turn, from the first again; empty: 1
  std::int64_t cycle_start = 0;        // where in the cycle the first element is
};

// What all elements of an update by AdamW have in common.
struct AdamwUpdate {
  double beta1 = 0;
  double beta2 = 0;
  double epsilon = 0;
  double weight_decay = 0;
  double gradient_scale = 1;  // multiplies the gradient
  std::uint64_t t = 1;        // updates including this one
};

// [n] each.
struct AdamwTensors {
  at::Tensor parameters;
  at::Tensor first_moment;
  at::Tensor second_moment;
  at::Tensor gradient;
};

// A matrix of the network's flat buffer of which a rank owns elements, in a row.
struct OwnMatrix {
  std::int64_t matrix = 0;  // where it begins in the flat buffer
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t begin = 0;  // [begin, end) of its elements are the rank's own
  std::int64_t end = 0;
  std::int64_t own = 0;    // where the first of these is in the rank's range
  double rate_factor = 1;  // multiplies the learning rate
  friend bool operator==(const OwnMatrix&, const OwnMatrix&) = default;
};

// What all matrices of an update by Muon have in common.
struct MuonUpdate {
  double learning_rate = 0;
  double weight_decay = 0;
  double momentum = 0;
  double beta2 = 0;
  double gradient_scale = 1;  // multiplies the gradient
};

// [n] each, a rank's range.
struct MuonTensors {
  at::Tensor first_moment;
  at::Tensor second_moment;
  at::Tensor gradient;
  at::Tensor directions;
};

// May own scratch memory that it reuses; not thread-safe. Buffers are 1-D, contiguous, fp32. An element's result
// depends on the element alone, a sum's bits on the sizes alone: neither on ranks nor on threads.
class FlatOperations {
 public:
  virtual ~FlatOperations() = default;

  // As sharding::adamw(), of the elements in `parts`, which are in order and don't overlap. Their gradient is 0
  // afterwards.
  virtual void adamw(const AdamwTensors& tensors, const AdamwUpdate& update, std::span<const RatePart> parts) = 0;

  // As sharding::muon_direction(), of the own elements of `matrices`. Their gradient is 0 afterwards.
  virtual void muon_directions(const MuonTensors& tensors, const MuonUpdate& update,
                               std::span<const OwnMatrix> matrices) = 0;
  // As muon_step() and sharding::muon_parameters(), of the own elements in `parameters`, the rank's range, from the
  // whole matrices in `directions`, the flat buffer. A matrix's bits depend on the matrix alone.
  virtual void muon_parameters(const at::Tensor& parameters, const at::Tensor& directions, const MuonUpdate& update,
                               std::span<const OwnMatrix> matrices) = 0;

  // [slices], fp64: the sum of the squares of each of as many equal parts of `values`. Valid until the next call.
  virtual at::Tensor squared_norms(const at::Tensor& values, std::int64_t slices) = 0;

  // [ranges], int64: of each of as many equal parts of `values`, the sum of the bits of all elements, modulo 2^64, each
  // times an odd factor of its own: exact, so that any order of summation gives the same, and no change of one element
  // keeps it (Carter and Wegman, 1979, are the model). Not against whoever wants equal hashes.
  virtual at::Tensor hashes(const at::Tensor& values, std::int64_t ranges) = 0;
};

// The factors of a hash: an element's is that of its column times that of its row.
struct HashFactors {
  static constexpr std::int64_t kColumns = 2048;
  at::Tensor columns;  // [kColumns], int64
  at::Tensor rows;     // [at least 1], int64
};
// For up to `values` elements; made anew where those of `factors` do not suffice.
void make_sufficient(HashFactors& factors, std::int64_t values, const at::Device& device);

// LibTorch's own operators on any device.
std::unique_ptr<FlatOperations> make_aten_flat_operations();
// Own kernels; defined where make_cuda_operations() is.
std::unique_ptr<FlatOperations> make_cuda_flat_operations();
// REQUIRES: not those of a CPU, whose optimizer works in the snapshots themselves (sharding/slot_state.hpp).
std::unique_ptr<FlatOperations> make_flat_operations(Kernels kernels);

}  // namespace kangpt::operations
