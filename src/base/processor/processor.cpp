#include "base/processor/processor.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <cstdint>

namespace kangpt::base {

void flush_denormals() noexcept {
#if defined(__x86_64__)
  constexpr unsigned kFlushToZero = 1U << 15U;
  constexpr unsigned kDenormalsAreZero = 1U << 6U;
  _mm_setcsr(_mm_getcsr() | kFlushToZero | kDenormalsAreZero);
#elif defined(__aarch64__)
  constexpr std::uint64_t kFlushToZero = std::uint64_t{1} << 24U;  // operands too
  std::uint64_t control = 0;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  asm volatile("msr fpcr, %0" ::"r"(control | kFlushToZero));
#endif
}

Bfloat16Products bfloat16_products() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512bw")) return Bfloat16Products::kNone;
#if !defined(__clang__)  // which does not know this name
  if (__builtin_cpu_supports("amx-bf16")) return Bfloat16Products::kAmx;
#endif
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
