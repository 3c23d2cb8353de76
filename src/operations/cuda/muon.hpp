// Kernels for Muon's step of many matrices of any shapes at once, in fp32. The sums of a matrix and their order depend
// on its shape alone, whatever goes with it: ranks may share matrices out in any way.
#pragma once

#include <cstdint>

#include "operations/cuda/launches.hpp"

namespace kangpt::operations::cuda {

// A matrix, and what a rank owns of it. Its step is made of a copy, of a tall matrix the transpose, with zeros to the
// right and below, so that all products are of whole tiles.
struct MuonMatrix {
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t direction;  // where it begins among the directions
  std::int64_t begin;      // [begin, end) of its elements are the rank's own
  std::int64_t end;
  std::int64_t own;  // where the first of these is in the rank's range
  double rate_factor;
  float scale;  // of the step
  // What place() sets: the size of the copy, and where copy, square [height, height] and sums begin among the others';
  std::int64_t height;
  std::int64_t width;
  std::int64_t height_terms;  // of a sum over the height, up to where there are but zeros
  std::int64_t width_terms;
  std::int64_t copy;
  std::int64_t square;
  std::int64_t sum;
  // the first of its blocks in each kind of launch.
  std::int64_t own_block;
  std::int64_t sum_block;
  std::int64_t tile_block;
  std::int64_t square_block;
  std::int64_t product_block;
};

// Of the matrices that go together.
struct MuonSizes {
  std::int64_t own_begin = 0;  // within the rank's range, from the first element to the last
  std::int64_t own_end = 0;
  std::int64_t own_elements = 0;
  std::int64_t begin = 0;  // likewise among the directions
  std::int64_t end = 0;
  std::int64_t elements = 0;
  std::int64_t copies = 0;   // elements
  std::int64_t squares = 0;  // elements
  std::int64_t sums = 0;
  std::int64_t own_blocks = 0;
  std::int64_t tile_blocks = 0;
  std::int64_t square_blocks = 0;
  std::int64_t product_blocks = 0;
  double copies_square_flops = 0;
  double squares_square_flops = 0;
  double product_flops = 0;
};
// Adds `matrix` to those that go together.
void place(MuonMatrix& matrix, MuonSizes& sizes);

struct MuonTable {
  const MuonMatrix* matrices;  // in device memory
  int count;
  MuonSizes sizes;
};

// As sharding::muon_direction(), of the own elements; buffers are the rank's range.
struct MuonDirections {
  MuonTable table;
  float* first_moment;
  float* second_moment;
  float* gradient;  // 0 afterwards
  float* directions;
  float momentum, one_minus_momentum;
  float beta2, one_minus_beta2;
  float gradient_scale;
};
void muon_directions(const MuonDirections& a, Stream stream);

// X = direction / (norm + least_norm), five times X' = linear X + (cubic X X^T + quintic (X X^T)^2) X, and then, of the
// own elements, p' = p - rate_factor * learning_rate * (scale * X + weight_decay * p).
struct MuonSteps {
  MuonTable table;
  const float* directions;  // of whole matrices
  float* parameters;        // the rank's range
  float* copies;            // scratch, 2 * sizes.copies
  float* squares;           // scratch, 2 * sizes.squares
  double* sums;             // scratch, sizes.sums
  double learning_rate;
  double weight_decay;
  float least_norm;
  float linear, cubic, quintic;
  int steps;
};
void muon_steps(const MuonSteps& a, Stream stream);

}  // namespace kangpt::operations::cuda
