#include "operations/computing.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "base/processor/processor.hpp"
#include "base/processor/usable_processors.hpp"

namespace kangpt::operations {

void start_computing(int threads) {
  base::flush_denormals();  // before the pool has threads, which inherit it: moments of rare tokens decay into
                            // denormals
  at::set_num_threads(threads > 0 ? threads : std::min(at::get_num_threads(), base::usable_processors()));
  at::globalContext().setDeterministicAlgorithms(true, false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);  // a pass over memory for each new tensor
}

}  // namespace kangpt::operations
