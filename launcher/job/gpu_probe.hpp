// Which GPUs this node has, found without any CUDA library, and which rank gets which.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kangpt::launcher {

// The program beside kangpt_worker that computes on a GPU.
inline constexpr const char* kGpuWorker = "kangpt_worker_cuda";

// One GPU, as the driver describes it.
struct GpuFacts {
  std::string uuid;  // 32 hexadecimal digits; of a part of a GPU where it is divided (MIG)
  std::string model;
  int multiprocessors = 0;
  std::uint64_t memory_bytes = 0;  // 0: not known

  std::string text() const { return model + " with " + std::to_string(multiprocessors) + " multiprocessors"; }
  bool is_like(const GpuFacts& other) const { return model == other.model && multiprocessors == other.multiprocessors; }
};

// What a rank finds where it runs.
struct GpuProbe {
  std::vector<GpuFacts> gpus;    // that CUDA_VISIBLE_DEVICES shows, in its order
  std::string problem;           // why there is none; empty: there is at least one
  bool is_out_of_order = false;  // the problem: a driver or a GPU that does not work, though it is there
};

// Asks the driver (libcuda.so.1), if there is one.
GpuProbe probe_gpus();
// The same without asking where the program for GPUs is not in `program_folder`.
GpuProbe probe_gpus_for(const std::filesystem::path& program_folder);

// To send it to other ranks.
std::string to_text(const GpuProbe& probe);
GpuProbe probe_from_text(const std::string& text);

// What all ranks compute on, the same on every rank.
struct GpuShares {
  std::vector<int> of_ranks;       // the number of its GPU among those that a rank sees; empty where there is a problem
  std::string problem;             // why not every rank has a GPU of its own
  bool is_out_of_order = false;    // as in GpuProbe
  std::uint64_t memory_bytes = 0;  // of the GPU that has the least; 0: not known
};

// In the order of ranks, each gets the first that it sees and nobody has: the first ranks of a node the first GPUs
// where all see all of them, and each its own where a launcher shows each rank another one. All have to be alike, since
// another kind has other bits.
GpuShares share_gpus(const std::vector<GpuProbe>& probes);

}  // namespace kangpt::launcher
