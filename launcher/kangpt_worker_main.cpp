// kangpt_worker and kangpt_worker_cuda: compute. Started by kangpt_dist, never by hand.
#include "base/error.hpp"
#include "launcher/worker_program.hpp"
#include "sharding/workplace/gpu.hpp"

namespace kangpt {
namespace {

int run(int argc, char** argv) {
  return kangpt::launcher::worker_program(argc, argv, kangpt::sharding::use_gpu);
}

}  // namespace
}  // namespace kangpt

int main(int argc, char** argv) {
  return kangpt::run_program("kangpt_worker", kangpt::run, argc, argv);
}
