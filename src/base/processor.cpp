#include "base/processor.hpp"

namespace kangpt::base {

Bfloat16Products bfloat16_products() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512bw")) return Bfloat16Products::kNone;
  if (__builtin_cpu_supports("amx-bf16")) return Bfloat16Products::kAmx;
  if (__builtin_cpu_supports("avx512bf16")) return Bfloat16Products::kAvx512;
#endif
  return Bfloat16Products::kNone;
}

std::string_view name_of(Bfloat16Products products) {
  switch (products) {
    case Bfloat16Products::kAmx:
      return "AMX";
    case Bfloat16Products::kAvx512:
      return "AVX512-BF16";
    case Bfloat16Products::kNone:
      break;
  }
  return "none";
}

}  // namespace kangpt::base
