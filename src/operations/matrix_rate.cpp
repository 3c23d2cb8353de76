#include "operations/matrix_rate.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace kangpt::operations {
namespace {

constexpr std::int64_t kFirstSize = 128;
constexpr std::int64_t kLargestSize = 8192;
constexpr double kLongEnoughSeconds = 1e-3;  // for the clock, and for what a product costs beside its arithmetic
constexpr int kRepeats = 4;

double seconds_of_product(const at::Tensor& factor, at::Tensor& product) {
  const auto start = std::chrono::steady_clock::now();
  at::mm_out(product, factor, factor);
  product[0][0].item<float>();  // a device computes on while the host goes on
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double matrix_rate(const at::Device& device, at::ScalarType type) {
  for (std::int64_t size = kFirstSize;; size *= 2) {
    const at::Tensor factor = at::ones({size, size}, at::TensorOptions().device(device).dtype(type));
    at::Tensor product = at::empty_like(factor);
    seconds_of_product(factor, product);  // libraries choose their way the first time
    double seconds = seconds_of_product(factor, product);
    if (seconds < kLongEnoughSeconds && size < kLargestSize) continue;
    for (int repeat = 1; repeat < kRepeats; ++repeat) seconds = std::min(seconds, seconds_of_product(factor, product));
    const auto edge = static_cast<double>(size);
    return 2 * edge * edge * edge / seconds;
  }
}

}  // namespace kangpt::operations
