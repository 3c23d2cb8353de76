#include "operations/cpu/bfloat16_kernels.hpp"

#include <algorithm>

#include "operations/cpu/vector_math.hpp"

namespace kangpt::operations::cpu {
namespace {

constexpr std::int64_t kPairs = 2;

// The rounded number in the upper half; the lower half is to be dropped.
KANGPT_INLINE std::uint32_t rounded(float value) {
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t sum = bits + 0x7FFFU + (bits >> 16 & 1U);
  return value == value ? sum : bits | 0x400000U;
}

KANGPT_INLINE void round_rows_body(const RoundRows& a) {
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const float* source = a.source + row * a.columns;
    Bfloat16* target = a.target + row * even(a.columns);
#pragma omp simd
    for (std::int64_t c = 0; c < a.columns; ++c) target[c] = static_cast<Bfloat16>(rounded(source[c]) >> 16);
    if (a.columns % 2 != 0) target[a.columns] = 0;
  }
}

KANGPT_INLINE void pack_pair(const float* first, const float* second, Bfloat16* target, std::int64_t columns) {
  for (std::int64_t c = 0; c < columns; ++c) {
    const std::uint32_t pair = rounded(first[c]) >> 16 | (rounded(second[c]) & 0xFFFF0000U);
    __builtin_memcpy(target + kPairs * c, &pair, sizeof pair);
  }
}

KANGPT_INLINE void pack_panels_body(const PackPanels& a) {
  constexpr float kZeros[kPanelColumns] = {};
  for (std::int64_t panel = a.first_panel; panel < a.end_panel; ++panel) {
    const std::int64_t first = panel * kPanelColumns;
    Bfloat16* target = a.target + first * even(a.rows);
    for (std::int64_t row = 0; row < a.rows; row += kPairs, target += kPairs * kPanelColumns) {
      const float* upper = a.source + row * a.columns + first;
      const float* lower = row + 1 < a.rows ? upper + a.columns : kZeros;
      if (a.columns - first >= kPanelColumns) {
        pack_pair(upper, lower, target, kPanelColumns);
      } else {
        pack_pair(upper, lower, target, a.columns - first);
      }
    }
  }
}

KANGPT_INLINE void unpack_pair(const Bfloat16* source, Bfloat16* first, Bfloat16* second, std::int64_t columns) {
  for (std::int64_t c = 0; c < columns; ++c) {
    std::uint32_t pair = 0;
    __builtin_memcpy(&pair, source + kPairs * c, sizeof pair);
    first[c] = static_cast<Bfloat16>(pair);
    second[c] = static_cast<Bfloat16>(pair >> 16);
  }
}

KANGPT_INLINE void unpack_panels_body(const UnpackPanels& a) {
  const std::int64_t stride = even(a.columns);
  Bfloat16 nowhere[kPanelColumns];
  for (std::int64_t first = 0; first < a.columns; first += kPanelColumns) {
    const Bfloat16* source = a.source + first * even(a.rows);
    for (std::int64_t row = 0; row < a.rows; row += kPairs, source += kPairs * kPanelColumns) {
      Bfloat16* upper = a.target + row * stride + first;
      Bfloat16* lower = row + 1 < a.rows ? upper + stride : nowhere;
      if (a.columns - first >= kPanelColumns) {
        unpack_pair(source, upper, lower, kPanelColumns);
      } else {
        unpack_pair(source, upper, lower, a.columns - first);
      }
    }
  }
  if (a.columns % 2 == 0) return;
  for (std::int64_t row = 0; row < a.rows; ++row) a.target[row * stride + a.columns] = 0;
}

}  // namespace

KANGPT_VERSIONS(round_rows, RoundRows, round_rows_body)
KANGPT_VERSIONS(pack_panels, PackPanels, pack_panels_body)
KANGPT_VERSIONS(unpack_panels, UnpackPanels, unpack_panels_body)

}  // namespace kangpt::operations::cpu
