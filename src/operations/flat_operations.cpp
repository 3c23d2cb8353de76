#include "operations/flat_operations.hpp"

#include <algorithm>
#include <random>

#include "operations/cuda_makers.hpp"

namespace kangpt::operations {
namespace {

at::Tensor odd_numbers(std::int64_t count, std::uint64_t seed, const at::Device& device) {
  const at::Tensor numbers = at::empty({count}, at::kLong);
  std::mt19937_64 generator(seed);
  std::int64_t* const values = numbers.data_ptr<std::int64_t>();
  std::generate_n(values, count, [&] { return static_cast<std::int64_t>(generator() | 1U); });
  return numbers.to(device);
}

}  // namespace

void make_sufficient(HashFactors& factors, std::int64_t values, const at::Device& device) {
  const std::int64_t rows = values / HashFactors::kColumns + 1;
  if (factors.rows.defined() && factors.rows.numel() >= rows) return;
  factors = {odd_numbers(HashFactors::kColumns, 1, device), odd_numbers(rows, 2, device)};
}

std::unique_ptr<FlatOperations> make_flat_operations(Kernels kernels) {
  return kernels == Kernels::kCuda ? cuda_makers().flat_operations() : make_aten_flat_operations();
}

}  // namespace kangpt::operations
