#include "operations/cpu/dropout_kernel.hpp"

#include <algorithm>

#include "operations/cpu/vector_math.hpp"
#include "operations/dropout.hpp"

namespace kangpt::operations::cpu {
namespace {

constexpr std::int64_t kBlock = Dropout::kBlockElements;

// The numbers of one block's elements, in their order.
template <class T>
KANGPT_INLINE void draw_block(const Drop<T>& a, std::uint64_t block, std::uint16_t* numbers) {
  constexpr std::int64_t kDrawn = Dropout::kLanes;
  const auto low = static_cast<std::uint32_t>(block * kDrawn);  // a block's lanes never carry over
  const auto high = static_cast<std::uint32_t>(block * kDrawn >> 32);
  const auto key0 = static_cast<std::uint32_t>(a.seed);
  const auto key1 = static_cast<std::uint32_t>(a.seed >> 32);
  std::uint32_t words[4][kDrawn];
#pragma omp simd
  for (std::int64_t lane = 0; lane < kDrawn; ++lane) {
    const PhiloxCounter drawn = philox({{low + static_cast<std::uint32_t>(lane), high, a.step, a.place}}, key0, key1);
    words[0][lane] = drawn.words[0];
    words[1][lane] = drawn.words[1];
    words[2][lane] = drawn.words[2];
    words[3][lane] = drawn.words[3];
  }
  for (std::int64_t word = 0; word < 4; ++word) {
    std::uint16_t* const two = numbers + word * 2 * kDrawn;
#pragma omp simd
    for (std::int64_t lane = 0; lane < kDrawn; ++lane) {
      two[lane] = static_cast<std::uint16_t>(words[word][lane]);
      two[kDrawn + lane] = static_cast<std::uint16_t>(words[word][lane] >> 16);
    }
  }
}

template <class T>
KANGPT_INLINE void drop_body(const Drop<T>& a) {
  std::uint16_t numbers[kBlock];
  std::uint64_t block = a.first / kBlock;
  auto skipped = static_cast<std::int64_t>(a.first % kBlock);
  for (std::int64_t done = 0; done < a.count; ++block) {
    draw_block(a, block, numbers);
    const std::int64_t size = std::min(kBlock - skipped, a.count - done);
    const std::uint16_t* const drawn = numbers + skipped;
    const T* const values = a.values + done;
    T* const out = a.out + done;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) out[i] = drawn[i] < a.kept ? values[i] * a.scale : T{0};
    done += size;
    skipped = 0;
  }
}

}  // namespace

KANGPT_KERNEL(drop, Drop)

}  // namespace kangpt::operations::cpu
