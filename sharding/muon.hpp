// The arithmetic of Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024): the step of
// a weight matrix is its momentum, made orthogonal.
//   m' = b m + (1 - b) g      d = b m' + (1 - b) g
//   p' = p - lr * (sqrt(max(1, rows / columns)) * orthogonal(d) + weight_decay * p)
// A rank may own a part of a matrix, but needs all of d: each row of orthogonal(d) depends on every element. So ranks
// that share a matrix gather its d, and each computes the whole step, of which it uses its part. Sharing that work out
// would save little (few matrices are shared) and cost the bits: products of a part of a matrix are summed otherwise.
#pragma once

#include <span>
#include <vector>

#include "operations/muon_step.hpp"
#include "sharding/adamw.hpp"

namespace kangpt::sharding {

// A matrix of the flat buffer of which a rank owns elements.
struct OwnedMatrix {
  FlatInterval matrix;
  FlatInterval own;
  std::int64_t rows = 0;
  double rate_factor = 1;  // multiplies the learning rate
};

// Those among update.rates with elements in `range`.
std::vector<OwnedMatrix> matrices_in(const training::OptimizerUpdate& update, FlatInterval range);
// Whether two ranks share a matrix.
bool is_any_matrix_cut(const training::OptimizerUpdate& update, const Partition& partition);

// One pass over memory, as adamw(): writes m', AdamW's v', for the day when a matrix is no longer Muon's, and, as
// parameters, d; leaves `gradient` zero. The bits do not depend on where a matrix is cut.
void muon_direction(const ExchangeMemory::Slot& from, const ExchangeMemory::Slot& to, std::span<float> gradient,
                    const training::OptimizerUpdate& update);

// p' of the own elements, from p and their operations::muon_step().
struct MuonRate {
  double learning_rate = 0;
  double weight_decay = 0;
};
void muon_parameters(std::span<const float> parameters, std::span<const float> step, std::span<float> new_parameters,
                     const MuonRate& rate);

}  // namespace kangpt::sharding
