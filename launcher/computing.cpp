#include "launcher/computing.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

namespace kangpt::launcher {

void start_computing(int threads) {
  if (threads > 0) at::set_num_threads(threads);
  // Threads of the pool inherit it: moments of rare tokens decay into denormals.
  at::globalContext().setFlushDenormal(true);
  at::globalContext().setDeterministicAlgorithms(true, false);
}

}  // namespace kangpt::launcher
