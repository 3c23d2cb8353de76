#include "launcher/computing.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include "base/processor.hpp"

namespace kangpt::launcher {

void start_computing(int threads) {
  base::flush_denormals();  // before the pool has threads, which inherit it: moments of rare tokens decay into
                            // denormals
  if (threads > 0) at::set_num_threads(threads);
  at::globalContext().setDeterministicAlgorithms(true, false);
}

}  // namespace kangpt::launcher
