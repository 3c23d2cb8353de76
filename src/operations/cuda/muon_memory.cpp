#include "operations/cuda/muon_memory.hpp"

#include <algorithm>

#include "operations/muon_step.hpp"

namespace kangpt::operations::cuda {
namespace {

MuonMatrix in_table(const OwnMatrix& matrix) {
  MuonMatrix m = {};
  m.rows = matrix.rows;
  m.columns = matrix.columns;
  m.direction = matrix.matrix;
  m.begin = matrix.begin;
  m.end = matrix.end;
  m.own = matrix.own;
  m.rate_factor = matrix.rate_factor;
  m.scale = static_cast<float>(muon_scale(matrix.rows, matrix.columns));
  return m;
}

std::int64_t scratch_of(const MuonSizes& sizes) {
  return 2 * (sizes.copies + sizes.squares);
}

}  // namespace

// Once, unless the matrices change: a copy from the host would hold up every step.
void MuonMemory::place(std::span<const OwnMatrix> matrices, const at::TensorOptions& options) {
  if (std::ranges::equal(matrices, placed_)) return;
  placed_.assign(matrices.begin(), matrices.end());
  tables_.clear();
  std::vector<MuonMatrix> table;
  for (const OwnMatrix& matrix : matrices) {
    MuonMatrix next = in_table(matrix);
    MuonSizes sizes = tables_.empty() ? MuonSizes() : tables_.back().sizes;
    cuda::place(next, sizes);
    if (tables_.empty() || scratch_of(sizes) > most_scratch_) {
      sizes = {};
      cuda::place(next, sizes);
      tables_.push_back({nullptr, 0, {}});
    }
    tables_.back().sizes = sizes;
    ++tables_.back().count;
    table.push_back(next);
  }
  const auto bytes = static_cast<std::int64_t>(table.size() * sizeof(MuonMatrix));
  table_ = at::empty({bytes}, options.dtype(at::kByte));
  table_.copy_(at::from_blob(table.data(), {bytes}, at::kByte));
  const auto* first = reinterpret_cast<const MuonMatrix*>(table_.const_data_ptr());
  for (MuonTable& some : tables_) {
    some.matrices = first;
    first += some.count;
  }
}

void MuonMemory::directions(const MuonTensors& tensors, const MuonUpdate& u, std::span<const OwnMatrix> matrices) {
  place(matrices, tensors.gradient.options());
  for (const MuonTable& table : tables_) {
    muon_directions({.table = table,
                     .first_moment = written(tensors.first_moment),
                     .second_moment = written(tensors.second_moment),
                     .gradient = written(tensors.gradient),
                     .directions = written(tensors.directions),
                     .momentum = static_cast<float>(u.momentum),
                     .one_minus_momentum = static_cast<float>(1 - u.momentum),
                     .beta2 = static_cast<float>(u.beta2),
                     .one_minus_beta2 = static_cast<float>(1 - u.beta2),
                     .gradient_scale = static_cast<float>(u.gradient_scale)},
                    stream_of(tensors.gradient));
  }
}

void MuonMemory::parameters(const at::Tensor& parameters, const at::Tensor& directions, const MuonUpdate& u,
                            std::span<const OwnMatrix> matrices) {
  using Newton = NewtonSchulz;
  const at::TensorOptions options = parameters.options();
  place(matrices, options);
  for (const MuonTable& table : tables_) {
    const at::Tensor sums = sums_.take({table.sizes.sums}, options.dtype(at::kDouble));
    muon_steps({.table = table,
                .directions = read(directions),
                .parameters = written(parameters),
                .copies = written(copies_.take({2 * table.sizes.copies}, options)),
                .squares = written(squares_.take({2 * table.sizes.squares}, options)),
                .sums = sums.mutable_data_ptr<double>(),
                .learning_rate = u.learning_rate,
                .weight_decay = u.weight_decay,
                .least_norm = static_cast<float>(Newton::kLeastNorm),
                .linear = static_cast<float>(Newton::kLinear),
                .cubic = static_cast<float>(Newton::kCubic),
                .quintic = static_cast<float>(Newton::kQuintic),
                .steps = Newton::kSteps},
               stream_of(parameters));
  }
}

}  // namespace kangpt::operations::cuda
