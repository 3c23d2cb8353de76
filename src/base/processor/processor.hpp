// What the processor can do beyond the base instruction set.
#pragma once

#include <string_view>

namespace kangpt::base {

// How the processor multiplies matrices of bfloat16 numbers.
enum class Bfloat16Products { kNone, kAvx512, kAmx };

Bfloat16Products bfloat16_products();

// From here on numbers below the least normal one are 0, as operands and as results, in this thread and in those that
// it starts. Arithmetic on them is slow, and sums have the same bits everywhere only if all who add agree on it.
void flush_denormals() noexcept;

// "none", "AVX512-BF16", "AMX".
std::string_view name_of(Bfloat16Products products);

}  // namespace kangpt::base
