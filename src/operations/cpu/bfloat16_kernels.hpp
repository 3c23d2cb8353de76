// Conversions between fp32 and the layouts of bfloat16 that matrix products take. Raw pointers, one thread.
#pragma once

#include <cstdint>

namespace kangpt::operations::cpu {

using Bfloat16 = std::uint16_t;  // the upper half of an fp32 number

inline constexpr std::int64_t kPanelColumns = 64;

constexpr std::int64_t even(std::int64_t count) noexcept {
  return count + count % 2;
}

// Right operands are packed: panels of 64 columns, in each the rows in pairs, in a pair the two numbers of a column
// beside each other: element (r, c) lies at [c / 64][r / 2][c % 64][r % 2]. An odd last row has zeros beside it.
constexpr std::int64_t packed_size(std::int64_t rows, std::int64_t columns) noexcept {
  return (columns + kPanelColumns - 1) / kPanelColumns * kPanelColumns * even(rows);
}

// Rounds to the nearest, ties to even; NaN stays NaN. Odd columns get a zero behind them.
struct RoundRows {
  const float* source;  // [rows, columns]
  Bfloat16* target;     // [rows, even(columns)]
  std::int64_t rows;
  std::int64_t columns;
};
void round_rows(const RoundRows& a);

struct PackPanels {
  const float* source;  // [rows, columns]
  Bfloat16* target;     // packed
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t first_panel;  // panels [first_panel, end_panel) are written
  std::int64_t end_panel;
};
void pack_panels(const PackPanels& a);

struct UnpackPanels {
  const Bfloat16* source;  // packed
  Bfloat16* target;        // [rows, even(columns)]
  std::int64_t rows;
  std::int64_t columns;
};
void unpack_panels(const UnpackPanels& a);

}  // namespace kangpt::operations::cpu
