#include "operations/cuda/device.hpp"
#include "operations/dropout.hpp"
#include "operations/philox.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr std::uint64_t kBlockElements = Dropout::kBlockElements;
constexpr std::uint64_t kLanes = Dropout::kLanes;
constexpr int kNumbers = Dropout::kBlockElements / Dropout::kLanes;  // of a draw

// A thread takes what one draw decides: elements kLanes apart, so that neighbours among threads are neighbours in
// memory.
__global__ void __launch_bounds__(kThreads) drop_elements(Drop a) {
  const std::uint64_t draw = a.first / kBlockElements * kLanes + static_cast<std::uint64_t>(global_thread());
  const std::uint64_t element = draw / kLanes * kBlockElements + draw % kLanes;
  const PhiloxCounter drawn =
      philox({{static_cast<std::uint32_t>(draw), static_cast<std::uint32_t>(draw >> 32), a.step, a.place}},
             static_cast<std::uint32_t>(a.seed), static_cast<std::uint32_t>(a.seed >> 32));
#pragma unroll
  for (int n = 0; n < kNumbers; ++n) {
    const auto i = static_cast<std::int64_t>(element + static_cast<std::uint64_t>(n) * kLanes - a.first);
    if (i < 0 || i >= a.count) continue;
    const std::uint32_t number = drawn.words[n / 2] >> (n % 2 * 16) & 0xFFFF;
    a.out[i] = number < a.kept ? a.values[i] * a.scale : 0.F;
  }
}

}  // namespace

void drop(const Drop& a, Stream stream) {
  const std::uint64_t first_block = a.first / kBlockElements;
  const std::uint64_t end_block = (a.first + static_cast<std::uint64_t>(a.count) + kBlockElements - 1) / kBlockElements;
  const auto draws = static_cast<std::int64_t>((end_block - first_block) * kLanes);
  launch({"drop", {reads(a.values, a.count), writes(a.out, a.count)}}, {divided_up(draws, kThreads)}, stream,
         &drop_elements, a);
}

}  // namespace kangpt::operations::cuda
