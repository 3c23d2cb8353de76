// What the processor can do beyond the base instruction set.
#pragma once

#include <string_view>

namespace kangpt::base {

// How the processor multiplies matrices of bfloat16 numbers.
enum class Bfloat16Products { kNone, kAvx512, kAmx };

Bfloat16Products bfloat16_products();

// "none", "AVX512-BF16", "AMX".
std::string_view name_of(Bfloat16Products products);

}  // namespace kangpt::base
