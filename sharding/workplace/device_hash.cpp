#include "sharding/workplace/device_hash.hpp"

#include <algorithm>
#include <random>
#include <vector>

namespace kangpt::sharding {
namespace {

constexpr std::int64_t kColumns = 2048;
constexpr std::int64_t kRowsAtOnce = 1024;  // their products, 16 MiB, stay in a GPU's cache until they are summed up

at::Tensor odd_numbers(std::int64_t count, std::uint64_t seed, const at::Device& device) {
  const at::Tensor numbers = at::empty({count}, at::kLong);
  std::mt19937_64 generator(seed);
  std::int64_t* const values = numbers.data_ptr<std::int64_t>();
  std::generate_n(values, count, [&] { return static_cast<std::int64_t>(generator() | 1U); });
  return numbers.to(device);
}

}  // namespace

DeviceHash::DeviceHash(std::int64_t values, const at::Device& device)
    : column_factors_(odd_numbers(kColumns, 1, device)), row_factors_(odd_numbers(values / kColumns + 1, 2, device)) {}

at::Tensor DeviceHash::operator()(const at::Tensor& flat) const {
  const at::Tensor bits = flat.view(at::kInt);
  const std::int64_t rows = bits.numel() / kColumns;
  const std::int64_t left = bits.numel() % kColumns;
  std::vector<at::Tensor> sums;
  if (rows > 0) sums.push_back(of_rows(bits.narrow(0, 0, rows * kColumns).view({rows, kColumns})));
  if (left > 0) {
    const at::Tensor factors = column_factors_.narrow(0, 0, left);
    sums.push_back((bits.narrow(0, rows * kColumns, left) * factors).sum(0, true) * row_factors_.narrow(0, rows, 1));
  }
  return at::cat(sums).sum();
}

at::Tensor DeviceHash::of_rows(const at::Tensor& bits) const {
  std::vector<at::Tensor> sums;
  for (std::int64_t begin = 0; begin < bits.size(0); begin += kRowsAtOnce) {
    const std::int64_t rows = std::min(kRowsAtOnce, bits.size(0) - begin);
    sums.push_back((bits.narrow(0, begin, rows) * column_factors_).sum(1));
  }
  return at::cat(sums) * row_factors_.narrow(0, 0, bits.size(0));
}

}  // namespace kangpt::sharding
