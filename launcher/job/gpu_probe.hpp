// Which GPUs this node has, found without any CUDA library.
#pragma once

#include <filesystem>
#include <string>

namespace kangpt::launcher {

// The program beside kangpt_worker that computes on a GPU.
inline constexpr const char* kGpuWorker = "kangpt_worker_cuda";

struct GpuProbe {
  int count = 0;        // that CUDA_VISIBLE_DEVICES shows
  std::string problem;  // why there is none; empty: there is at least one
};

// Asks the driver (libcuda.so.1), if there is one.
GpuProbe probe_gpus();

// Why the rank with number `local_rank` on this node can't have a GPU of its own; empty: it can. `program_folder`:
// where the programs of this build are.
std::string gpu_problem(const std::filesystem::path& program_folder, const GpuProbe& probe, int local_rank);

}  // namespace kangpt::launcher
