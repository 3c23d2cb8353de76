#include "launcher/job/gpu_probe.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>

namespace kangpt::launcher {
namespace {

// Of the driver's C interface (cuda.h), which need not be installed.
using CuInit = int (*)(unsigned flags);
using CuDeviceGetCount = int (*)(int* count);
constexpr int kCudaSuccess = 0;
constexpr int kCudaErrorNoDevice = 100;

std::string visible_devices() {
  const char* const value = std::getenv("CUDA_VISIBLE_DEVICES");
  return value == nullptr ? "CUDA_VISIBLE_DEVICES is not set" : "CUDA_VISIBLE_DEVICES is '" + std::string(value) + "'";
}

std::string describe(const char* call, int error) {
  if (error == kCudaErrorNoDevice) return "the NVIDIA driver shows no GPU (" + visible_devices() + ")";
  return std::string("the NVIDIA driver does not work: ") + call + " gave error " + std::to_string(error);
}

}  // namespace

GpuProbe probe_gpus() {
  const std::unique_ptr<void, int (*)(void*)> driver(::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), ::dlclose);
  if (!driver) return {0, "there is no NVIDIA driver (libcuda.so.1) on this node"};
  const auto init = reinterpret_cast<CuInit>(::dlsym(driver.get(), "cuInit"));
  const auto device_count = reinterpret_cast<CuDeviceGetCount>(::dlsym(driver.get(), "cuDeviceGetCount"));
  if (init == nullptr || device_count == nullptr) return {0, "libcuda.so.1 on this node is no NVIDIA driver"};
  if (const int error = init(0); error != kCudaSuccess) return {0, describe("cuInit", error)};
  GpuProbe probe;
  if (const int error = device_count(&probe.count); error != kCudaSuccess)
    return {0, describe("cuDeviceGetCount", error)};
  if (probe.count == 0) probe.problem = describe("cuDeviceGetCount", kCudaErrorNoDevice);
  return probe;
}

std::string gpu_problem(const std::filesystem::path& program_folder, const GpuProbe& probe, int local_rank) {
  if (!std::filesystem::exists(program_folder / kGpuWorker)) {
    return std::string("this build has no GPU part (") + kGpuWorker +
           " is missing: it is built where the CUDA toolkit and NCCL are installed)";
  }
  if (!probe.problem.empty()) return probe.problem;
  if (local_rank < probe.count) return "";
  return "a node has " + std::to_string(probe.count) + " GPU(s) for at least " + std::to_string(local_rank + 1) +
         " ranks (" + visible_devices() +
         "); start one rank a GPU: mpirun --map-by ppr:" + std::to_string(probe.count) + ":node";
}

}  // namespace kangpt::launcher
