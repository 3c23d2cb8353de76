#include "base/error.hpp"
#include "sharding/workplace/gpu.hpp"
#include "sharding/workplace/nccl_communicator.hpp"

namespace kangpt::sharding {
namespace {

[[noreturn]] void refuse() {
  throw ConfigError(
      "this program was built without CUDA and NCCL; valid for run.device: CPU. Where both are installed, "
      "make builds the GPU part too");
}

}  // namespace

at::Device use_gpu(int /*index*/) {
  refuse();
}

std::unique_ptr<BackgroundCopies> make_gpu_copies(const at::Device& /*device*/, std::span<std::byte> /*memory*/) {
  refuse();
}

std::unique_ptr<training::Communicator> make_nccl_communicator(AgentCommunicator& /*agents*/,
                                                               const NcclPlace& /*place*/) {
  refuse();
}

}  // namespace kangpt::sharding
