// How fast this device multiplies matrices: what the speed of training is compared with.
#pragma once

#include "operations/torch_prefix.hpp"

namespace kangpt::operations {

// FLOP/s of large square products of `type`, the best of several, with the threads set by start_computing(). Takes some
// hundredths of a second. A data sheet's peak is not asked for: it depends on clock rates and neighbours, and no
// processor names it.
double matrix_rate(const at::Device& device, at::ScalarType type);

}  // namespace kangpt::operations
