#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr std::int64_t kRowsOfABlock = 512;  // of a column that one thread block adds up

// A block takes 32 columns of up to kRowsOfABlock rows.
__global__ void __launch_bounds__(kThreads) sum_columns(ColumnSums a, float* out, bool adds) {
  const std::int64_t column = own_column();
  const std::int64_t begin = blockIdx.y * kRowsOfABlock;
  const std::int64_t end = begin + kRowsOfABlock < a.rows ? begin + kRowsOfABlock : a.rows;
  const float sum = sum_of_column(begin, column < a.columns ? end : begin,
                                  [&](std::int64_t row) { return a.matrix[row * a.columns + column]; });
  if (threadIdx.x >= kWarp || column >= a.columns) return;
  float& to = out[blockIdx.y * a.columns + column];
  to = adds ? to + sum : sum;
}

// One block: each thread adds up every kThreads-th element in double, then all of them.
__global__ void __launch_bounds__(kThreads) sum_in_double(Sums a) {
  __shared__ double shared[kThreads / kWarp];
  double first = 0, second = 0;
  for (std::int64_t i = threadIdx.x; i < a.count; i += kThreads) {
    first += static_cast<double>(a.first[i]);
    second += static_cast<double>(a.second[i]);
  }
  const auto add = [](double value) { return warp_sum(value); };
  first = over_block(first, shared, 0.0, add);
  second = over_block(second, shared, 0.0, add);
  if (threadIdx.x == 0) {
    a.sums[0] = first;
    a.sums[1] = second;
  }
}

}  // namespace

std::int64_t column_sum_partials(std::int64_t rows, std::int64_t columns) {
  std::int64_t elements = 0;
  for (std::int64_t left = divided_up(rows, kRowsOfABlock); left > 1; left = divided_up(left, kRowsOfABlock))
    elements += left * columns;
  return elements;
}

void add_column_sums(const ColumnSums& a, Stream stream) {
  const std::int64_t across = divided_up(a.columns, kWarp), down = divided_up(a.rows, kRowsOfABlock);
  const MemoryUse matrix = reads(a.matrix, a.rows * a.columns);
  if (down <= 1) {
    return launch({"add_column_sums", {matrix, updates(a.sums, a.columns)}}, {across, down}, stream, &sum_columns, a,
                  a.sums, true);
  }
  launch({"add_column_sums", {matrix, writes(a.partials, down * a.columns)}}, {across, down}, stream, &sum_columns, a,
         a.partials, false);
  add_column_sums({a.partials, a.partials + down * a.columns, a.sums, down, a.columns}, stream);
}

void sum_both(const Sums& a, Stream stream) {
  launch({"sum_both", {reads(a.first, a.count), reads(a.second, a.count), writes(a.sums, 2)}}, {1}, stream,
         &sum_in_double, a);
}

}  // namespace kangpt::operations::cuda
