// The numbers of dropout, and dropout itself, on the CPU.
#pragma once

#include <cstdint>

#include "operations/philox.hpp"

namespace kangpt::operations::cpu {

using operations::philox;
using operations::PhiloxCounter;

template <class T>
struct Drop {  // out = value * scale, or 0 where Dropout (dropout.hpp) leaves an element out; `out` may be `values`
  const T* values;
  T* out;
  std::int64_t count;
  std::uint64_t first;  // number of the first element
  std::uint64_t seed;
  std::uint32_t step;
  std::uint32_t place;  // with what the step has above 32 bits
  std::uint32_t kept;
  T scale;
};
void drop(const Drop<float>& a);
void drop(const Drop<double>& a);

}  // namespace kangpt::operations::cpu
