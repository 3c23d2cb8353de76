// Matrix products on the CPU from tiles that stay in cache.
#pragma once

#include <cstdint>

#include "config/run_config.hpp"
#include "operations/cpu/bfloat16_kernels.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations::cpu {

// One tile, row-major with strides in elements: c = a b, or c += a b. One thread.
template <class T>
struct TileProduct {
  const T* a;  // [rows, inner]
  std::int64_t a_stride;
  const T* b;  // [inner, columns]
  std::int64_t b_stride;
  T* c;  // [rows, columns]
  std::int64_t c_stride;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t inner;
};
enum class Accumulate { kNo, kYes };
// fp32: oneDNN's kernels for the widest vectors that the processor has (LibTorch's own products use MKL, which takes
// half of them on processors of other makers than Intel). fp64, which only tests use: plain loops.
void multiply_tile(const TileProduct<float>& product, Accumulate accumulate);
void multiply_tile(const TileProduct<double>& product, Accumulate accumulate);

// The same in bfloat16 with sums in fp32, by the processor's own instructions for it: AVX512-BF16, or AMX.
struct PackedProduct {
  const cpu::Bfloat16* a;  // [rows, inner]
  const cpu::Bfloat16* b;  // [inner, columns], packed
  float* c;                // [rows, columns]
  std::int64_t c_stride;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t inner;  // even
};
void multiply_packed(const PackedProduct& product, Accumulate accumulate);
// To be called by each thread behind its last product for a while: gives the matrix unit of the processor back.
void release_matrix_unit();

// Products of whole matrices on all threads. Owns memory for copies; not thread-safe.
class MatrixProduct {
 public:
  // BF16: products of fp32 matrices round their operands to bfloat16.
  explicit MatrixProduct(config::Precision precision) : precision_(precision) {}

  // c = a b or c += a b; a [m, k] and b [k, n] are contiguous or the transposes of contiguous matrices, c [m, n] is
  // contiguous. The bits of c do not depend on the number of threads.
  void multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, Accumulate accumulate);

 private:
  void multiply_rounded(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, Accumulate accumulate);

  config::Precision precision_;
  at::Tensor a_rounded_;
  at::Tensor b_packed_;
  at::Tensor a_copy_;
  at::Tensor b_copy_;
};

}  // namespace kangpt::operations::cpu
