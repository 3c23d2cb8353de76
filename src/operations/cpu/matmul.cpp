#include "operations/cpu/matmul.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>

#include "operations/cpu/kernels.hpp"
#include "operations/scratch.hpp"

namespace kangpt::operations::cpu {
namespace {

// A block of c, 32 KB in fp32, stays close to the processor while it is added to, and the products of small networks
// still make a block or more for each thread. The sum over `inner` is never cut: an element of c is one sum by one
// thread, so its bits do not depend on the number of threads.
constexpr std::int64_t kBlockRows = 64;
constexpr std::int64_t kBlockColumns = 128;
constexpr std::int64_t kStripe = 16;  // columns that a thread transposes at once: a vector, a cache line of fp32
// Work below which another thread costs more than it brings.
constexpr std::int64_t kGrainElements = 1 << 15;
constexpr std::int64_t kGrainProducts = 1 << 20;

std::int64_t blocks(std::int64_t extent, std::int64_t block) {
  return (extent + block - 1) / block;
}

// `matrix` itself, or a contiguous copy of it in `copy` if it is a transposed view: the tile products take rows alone,
// and a copy costs less than strides that jump a row for every number.
template <class T>
const T* contiguous(const at::Tensor& matrix, at::Tensor& copy) {
  if (matrix.is_contiguous()) return matrix.const_data_ptr<T>();
  reuse(copy, matrix.sizes(), matrix.options());
  const std::int64_t rows = matrix.size(1);  // of the matrix that lies in memory
  const std::int64_t columns = matrix.size(0);
  const T* source = matrix.const_data_ptr<T>();
  T* target = copy.mutable_data_ptr<T>();
  const std::int64_t grain = blocks(kGrainElements, kStripe * rows);
  at::parallel_for(0, blocks(columns, kStripe), grain, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * kStripe;
    const std::int64_t count = std::min(end * kStripe, columns) - first;
    cpu::transpose(cpu::Transpose<T>{source + first, target + first * rows, rows, count, columns, rows});
  });
  return target;
}

template <class T>
void multiply_blocks(const TileProduct<T>& whole, Accumulate accumulate) {
  const std::int64_t across = blocks(whole.columns, kBlockColumns);
  const std::int64_t count = blocks(whole.rows, kBlockRows) * across;
  const std::int64_t grain = blocks(kGrainProducts, kBlockRows * kBlockColumns * whole.inner);
  at::parallel_for(0, count, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t row = block / across * kBlockRows;
      const std::int64_t column = block % across * kBlockColumns;
      TileProduct<T> tile = whole;
      tile.a += row * whole.a_stride;
      tile.b += column;
      tile.c += row * whole.c_stride + column;
      tile.rows = std::min(kBlockRows, whole.rows - row);
      tile.columns = std::min(kBlockColumns, whole.columns - column);
      multiply_tile(tile, accumulate);
    }
  });
}

}  // namespace

void multiply_tile(const TileProduct<float>& p, Accumulate accumulate) {
  at::native::cpublas::brgemm(p.rows, p.columns, p.inner, p.a_stride, p.b_stride, p.c_stride,
                              accumulate == Accumulate::kYes, p.a, p.b, p.c, /*is_vnni=*/false);
}

void multiply_tile(const TileProduct<double>& p, Accumulate accumulate) {
  for (std::int64_t row = 0; row < p.rows; ++row) {
    double* c = p.c + row * p.c_stride;
    if (accumulate == Accumulate::kNo) std::fill(c, c + p.columns, 0.0);
    for (std::int64_t k = 0; k < p.inner; ++k) {
      const double factor = p.a[row * p.a_stride + k];
      for (std::int64_t column = 0; column < p.columns; ++column) c[column] += factor * p.b[k * p.b_stride + column];
    }
  }
}

void multiply_packed(const PackedProduct& p, Accumulate accumulate) {
  const auto* a = reinterpret_cast<const at::BFloat16*>(p.a);
  for (std::int64_t column = 0; column < p.columns; column += cpu::kPanelColumns) {
    const std::int64_t width = std::min(cpu::kPanelColumns, p.columns - column);
    const auto* panel = reinterpret_cast<const at::BFloat16*>(p.b + column * p.inner);
    at::native::cpublas::brgemm(p.rows, width, p.inner, p.inner, cpu::kPanelColumns, p.c_stride,
                                accumulate == Accumulate::kYes, a, panel, p.c + column, /*is_vnni=*/true);
  }
}

void release_matrix_unit() {
  at::native::cpublas::brgemm_release(/*is_vnni=*/true);
}

void MatrixProduct::multiply_rounded(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c,
                                     Accumulate accumulate) {
  const std::int64_t rows = a.size(0);
  const std::int64_t columns = b.size(1);
  const std::int64_t depth = a.size(1);
  const std::int64_t inner = cpu::even(depth);
  reuse(a_rounded_, {rows * inner}, at::kBFloat16);
  reuse(b_packed_, {cpu::packed_size(depth, columns)}, at::kBFloat16);
  auto* left = static_cast<cpu::Bfloat16*>(a_rounded_.mutable_data_ptr());
  auto* right = static_cast<cpu::Bfloat16*>(b_packed_.mutable_data_ptr());
  const float* a_values = contiguous<float>(a, a_copy_);
  at::parallel_for(0, rows, blocks(kGrainElements, depth), [&](std::int64_t begin, std::int64_t end) {
    cpu::round_rows({a_values + begin * depth, left + begin * inner, end - begin, depth});
  });
  const float* b_values = contiguous<float>(b, b_copy_);
  const std::int64_t panels = blocks(columns, cpu::kPanelColumns);
  at::parallel_for(0, panels, blocks(kGrainElements, depth * cpu::kPanelColumns),
                   [&](std::int64_t begin, std::int64_t end) {
                     cpu::pack_panels({b_values, right, depth, columns, begin, end});
                   });
  const std::int64_t across = blocks(columns, kBlockColumns);
  const std::int64_t grain = blocks(kGrainProducts, kBlockRows * kBlockColumns * inner);
  at::parallel_for(0, blocks(rows, kBlockRows) * across, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t row = block / across * kBlockRows;
      const std::int64_t column = block % across * kBlockColumns;
      multiply_packed({left + row * inner, right + column * inner, c.mutable_data_ptr<float>() + row * columns + column,
                       columns, std::min(kBlockRows, rows - row), std::min(kBlockColumns, columns - column), inner},
                      accumulate);
    }
    release_matrix_unit();
  });
}

void MatrixProduct::multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, Accumulate accumulate) {
  if (precision_ == config::Precision::kBf16 && c.scalar_type() == at::kFloat) {
    return multiply_rounded(a, b, c, accumulate);
  }
  AT_DISPATCH_FLOATING_TYPES(c.scalar_type(), "multiply", [&] {
    const scalar_t* left = contiguous<scalar_t>(a, a_copy_);
    const scalar_t* right = contiguous<scalar_t>(b, b_copy_);
    multiply_blocks(TileProduct<scalar_t>{left, a.size(1), right, b.size(1), c.mutable_data_ptr<scalar_t>(), c.size(1),
                                          a.size(0), b.size(1), a.size(1)},
                    accumulate);
  });
}

}  // namespace kangpt::operations::cpu
