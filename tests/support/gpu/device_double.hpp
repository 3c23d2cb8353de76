// Stands in for GPUs: NCCL, and the calls of CUDA's run time that sharding/ makes, on host memory. A program links
// these instead of the libraries. What it can't show is in docs/what_is_proven_without_a_gpu.md.
//
// Settings, all in the environment, so that workers under kangpt_dist have them too:
//
// KANGPT_DOUBLE_PATIENCE_SECONDS: a call that waits longer for another rank fails; without it, it waits for ever, as
// the real ones do.
//
// KANGPT_DOUBLE_NCCL_ERROR: "RANK:CALL"; that rank's CALL-th transfer fails with ncclSystemError, once in TMPDIR.
//
// KANGPT_DOUBLE_GPU_BYTES: how much memory a GPU has.
//
// KANGPT_DOUBLE_GPU_ERROR: the cudaError_t that asking for GPUs gives.
//
// KANGPT_DOUBLE_CHECK_STREAMS: "1": races between streams are looked for, and said on standard error at the end.
// "before" or "after": the same, with a mistake: what a collective waits for before it begins, or after it has ended,
// is not waited for.
#pragma once

#include <cstdint>

namespace kangpt::test {

// What this process has asked of its double.
struct DeviceCounts {
  std::uint64_t host_synchronisations = 0;  // the host has waited for a stream
  std::uint64_t messages = 0;               // sent to other ranks, point to point
  std::uint64_t message_bytes = 0;
  std::uint64_t collectives = 0;
  std::uint64_t pinned_bytes = 0;
};
DeviceCounts device_counts();

// For nccl_double.cpp.
void count_message(std::uint64_t bytes);
void count_collective();
// The number of a setting; `otherwise` where it is not set.
double double_setting(const char* name, double otherwise);

}  // namespace kangpt::test
