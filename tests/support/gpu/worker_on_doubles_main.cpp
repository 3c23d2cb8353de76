// kangpt_worker_cuda over the doubles: its tensors are the host's, all else is as on GPUs.
#include "base/error.hpp"
#include "launcher/worker_program.hpp"
#include "sharding/workplace/gpu.hpp"

namespace {

at::Device take_gpu(int index) {
  kangpt::sharding::use_gpu(index);
  return at::kCPU;
}

int run(int argc, char** argv) {
  return kangpt::launcher::worker_program(argc, argv, take_gpu);
}

}  // namespace

int main(int argc, char** argv) {
  return kangpt::run_program("kangpt_worker", run, argc, argv);
}
