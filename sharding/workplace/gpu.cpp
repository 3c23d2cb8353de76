#include "sharding/workplace/gpu.hpp"

#include <ATen/Context.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <string>

#include "base/error.hpp"
#include "base/log.hpp"
#include "operations/operations.hpp"

namespace kangpt::sharding {
namespace {

void check_cuda(cudaError_t error, const char* call) {
  if (error != cudaSuccess) throw InternalError(std::string(call) + ": " + cudaGetErrorString(error));
}

[[noreturn]] void refuse(cudaError_t error) {
  const std::string why = std::string("run.device is CUDA, but no GPU can be used: ") + cudaGetErrorString(error);
  if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver) throw ConfigError(why);
  throw Error(ExitCode::kGaveUp, why +
                                     "; the GPU or its driver is out of order, so this node has to be looked after "
                                     "(nvidia-smi says more); the same command on another one goes on");
}

// Of LibTorch's own settings, some come from the environment.
void settle_arithmetic() {
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 1);  // what cuBLAS needs to give the same bits each time
  at::Context& context = at::globalContext();
  context.setFloat32MatmulPrecision("highest");  // no TF32
  context.setAllowBF16ReductionCuBLAS(false);
}

class GpuCopies final : public BackgroundCopies {
 public:
  GpuCopies(const at::Device& device, std::span<std::byte> memory)
      : device_(device), memory_(memory), stream_(c10::cuda::getStreamFromPool(false, device.index())) {
    const cudaError_t error = cudaHostRegister(memory_.data(), memory_.size(), cudaHostRegisterDefault);
    if (error != cudaSuccess) {
      base::log_warning(std::string("snapshots are copied slowly, since their memory can't be pinned: ") +
                        cudaGetErrorString(error) + " (see ulimit -l)");
      memory_ = {};
      cudaGetLastError();  // else the next call would find it
    }
    check_cuda(cudaEventCreateWithFlags(&ready_, cudaEventDisableTiming), "cudaEventCreate");
  }
  GpuCopies(const GpuCopies&) = delete;
  GpuCopies& operator=(const GpuCopies&) = delete;
  ~GpuCopies() override {
    stream_.synchronize();
    cudaEventDestroy(ready_);
    if (!memory_.empty()) cudaHostUnregister(memory_.data());
  }

  void begin(const at::Tensor& from, const at::Tensor& to) override {
    check_cuda(cudaEventRecord(ready_, c10::cuda::getCurrentCUDAStream(device_.index()).stream()), "cudaEventRecord");
    check_cuda(cudaStreamWaitEvent(stream_.stream(), ready_, 0), "cudaStreamWaitEvent");
    const c10::cuda::CUDAStreamGuard guard(stream_);
    to.copy_(from, /*non_blocking=*/!memory_.empty());
  }

  void finish() override { stream_.synchronize(); }

 private:
  at::Device device_;
  std::span<std::byte> memory_;  // what is pinned
  c10::cuda::CUDAStream stream_;
  cudaEvent_t ready_ = nullptr;
};

}  // namespace

at::Device use_gpu(int index) {
  settle_arithmetic();
  operations::use_cuda_operations();
  int count = 0;
  const cudaError_t error = c10::cuda::GetDeviceCount(&count);
  if (error != cudaSuccess) refuse(error);
  if (index >= count) {
    throw ConfigError("this rank was to have GPU number " + std::to_string(index) + ", but its worker sees " +
                      std::to_string(count) + " (see CUDA_VISIBLE_DEVICES)");
  }
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(index));
  return {at::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

std::unique_ptr<BackgroundCopies> make_gpu_copies(const at::Device& device, std::span<std::byte> memory) {
  return std::make_unique<GpuCopies>(device, memory);
}

}  // namespace kangpt::sharding
