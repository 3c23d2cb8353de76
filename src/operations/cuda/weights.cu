#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr std::int64_t kCopiedByBlock = 4 * kThreads;

// The last job or part that begins with this block or one before.
template <class Jobs>
__device__ __forceinline__ int of_block(const Jobs& jobs, int count) {
  int first = 0, end = count;
  while (end - first > 1) {
    const int middle = (first + end) / 2;
    (jobs[middle].first_block <= blockIdx.x ? first : end) = middle;
  }
  return first;
}

template <class T>
__device__ __forceinline__ void copy(const WeightJob& job, std::int64_t block) {
  for (int turn = 0; turn < 4; ++turn) {
    const std::int64_t i = block * kCopiedByBlock + turn * static_cast<int>(kThreads) + threadIdx.x;
    if (i < job.inputs) static_cast<T*>(job.to)[i] = rounded<T>(job.from[i]);
  }
}

// A thread takes all degrees of one input and output; its neighbours the next outputs.
template <class T>
__device__ __forceinline__ void pack_polynomials(const WeightJob& job, std::int64_t block) {
  const std::int64_t pair = block * kThreads + threadIdx.x, pairs = job.inputs * job.outputs;
  if (pair >= pairs) return;
  const float* from = job.from + pair * (job.degree + 1);
  for (std::int64_t d = 1; d <= job.degree; ++d) static_cast<T*>(job.to)[(d - 1) * pairs + pair] = rounded<T>(from[d]);
}

// A block takes 32 outputs, its warps slices of the inputs.
__device__ __forceinline__ void add_up_constants(const WeightJob& job, std::int64_t block) {
  const std::int64_t output = block * kWarp + threadIdx.x % kWarp;
  const float sum = sum_of_column(0, output < job.outputs ? job.inputs : 0, [&](std::int64_t input) {
    return job.from[(input * job.outputs + output) * (job.degree + 1)];
  });
  if (threadIdx.x < kWarp && output < job.outputs) static_cast<float*>(job.to)[output] = sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads) take_all(const WeightJob* jobs, int count) {
  const WeightJob job = jobs[of_block(jobs, count)];
  const std::int64_t block = blockIdx.x - job.first_block;
  if (job.kind == WeightJob::kCopy) {
    copy<T>(job, block);
  } else if (job.kind == WeightJob::kPolynomials) {
    pack_polynomials<T>(job, block);
  } else {
    add_up_constants(job, block);
  }
}

// A block takes 32 columns.
__device__ __forceinline__ void add_sums(const GradientPart& part, std::int64_t block) {
  __shared__ float sums[kWarp];
  const std::int64_t first = block * kWarp, column = first + threadIdx.x % kWarp;
  const float sum = sum_of_column(0, column < part.columns ? part.rows : 0,
                                  [&](std::int64_t row) { return part.from[row * part.pitch + column]; });
  if (part.kind == GradientPart::kSums) {
    if (threadIdx.x < kWarp && column < part.columns) part.to[column] += sum;
    return;
  }
  if (threadIdx.x < kWarp) sums[threadIdx.x] = sum;
  __syncthreads();
  if (column >= part.columns) return;
  for (std::int64_t input = threadIdx.x / kWarp; input < part.inputs; input += kThreads / kWarp)
    part.to[(input * part.columns + column) * (part.degree + 1)] += sums[threadIdx.x % kWarp];
}

// A thread takes all degrees of one input and output; its neighbours the next inputs, which lie beside each other in
// `from`.
__device__ __forceinline__ void add_polynomials(const GradientPart& part, std::int64_t block) {
  const std::int64_t pair = block * kThreads + threadIdx.x;
  if (pair >= part.inputs * part.columns) return;
  const std::int64_t output = pair / part.inputs, input = pair % part.inputs;
  float* to = part.to + (input * part.columns + output) * (part.degree + 1);
  const float* from = part.from + output * part.degree * part.inputs + input;
  for (std::int64_t d = 1; d <= part.degree; ++d) to[d] += from[(d - 1) * part.inputs];
}

__global__ void __launch_bounds__(kThreads) add_parts(const __grid_constant__ Gradients a) {
  const GradientPart& part = a.parts[of_block(a.parts, a.count)];
  const std::int64_t block = blockIdx.x - part.first_block;
  if (part.kind == GradientPart::kPolynomials) {
    add_polynomials(part, block);
  } else if (part.kind == GradientPart::kAdd) {
    const std::int64_t i = block * kThreads + threadIdx.x;
    if (i < part.columns) part.to[i] += part.from[i];
  } else {
    add_sums(part, block);
  }
}

std::int64_t blocks_of(const GradientPart& part) {
  if (part.kind == GradientPart::kPolynomials) return divided_up(part.inputs * part.columns, kThreads);
  return divided_up(part.columns, part.kind == GradientPart::kAdd ? kThreads : kWarp);
}

MemoryUse read_by(const GradientPart& part) {
  if (part.kind == GradientPart::kPolynomials) return reads(part.from, part.columns * part.degree * part.inputs);
  return reads(part.from, part.rows * part.columns).among<float>((part.rows - 1) * part.pitch + part.columns);
}
MemoryUse updated_by(const GradientPart& part) {
  const std::int64_t pairs = part.inputs * part.columns, all = pairs * (part.degree + 1);
  if (part.kind == GradientPart::kConstants) return updates(part.to, pairs).among<float>(all);
  if (part.kind == GradientPart::kPolynomials) return updates(part.to, pairs * part.degree).among<float>(all);
  return updates(part.to, part.columns);
}

}  // namespace

std::int64_t weight_blocks(const WeightJob& job) {
  if (job.kind == WeightJob::kCopy) return divided_up(job.inputs, kCopiedByBlock);
  if (job.kind == WeightJob::kConstants) return divided_up(job.outputs, kWarp);
  return divided_up(job.inputs * job.outputs, kThreads);
}

void take_weights(const Weights& a, Stream stream) {
  const Work work = {"take_weights", {a.from, a.operands, a.constants, reads(a.jobs, a.count)}};
  a.type == OperandType::kFp32 ? launch(work, {a.blocks}, stream, &take_all<float>, a.jobs, a.count)
                               : launch(work, {a.blocks}, stream, &take_all<Bfloat16>, a.jobs, a.count);
}

void add_gradients(Gradients a, Stream stream) {
  Work work = {"add_gradients"};
  std::int64_t blocks = 0;
  for (int i = 0; i < a.count; ++i) {
    a.parts[i].first_block = blocks;
    blocks += blocks_of(a.parts[i]);
    work.memory[2 * i] = read_by(a.parts[i]);
    work.memory[2 * i + 1] = updated_by(a.parts[i]);
  }
  launch(work, {blocks}, stream, &add_parts, a);
}

}  // namespace kangpt::operations::cuda
