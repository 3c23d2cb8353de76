#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

// A thread takes kSize channels of a row and goes through the degrees in registers.
template <int kSize>
__global__ void __launch_bounds__(kThreads) basis_of_rows(Chebyshev a) {
  const std::int64_t first = global_thread() * kSize;
  if (first >= a.rows * a.channels) return;
  const std::int64_t row = first / a.channels, channel = first % a.channels;
  Vector<float, kSize> t = load<kSize>(a.u + first), previous, current;
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    t.v[i] = tanhf(t.v[i]);
    previous.v[i] = 1;
    current.v[i] = t.v[i];
  }
  float* out = a.basis + row * a.degree * a.channels + channel;
  for (std::int64_t d = 1; d <= a.degree; ++d, out += a.channels) {
    store<kSize>(out, current);
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      const float next = 2 * t.v[i] * current.v[i] - previous.v[i];
      previous.v[i] = current.v[i];
      current.v[i] = next;
    }
  }
}

template <int kSize>
__global__ void __launch_bounds__(kThreads) backward_of_rows(ChebyshevBackward a) {
  const std::int64_t first = global_thread() * kSize;
  if (first >= a.rows * a.channels) return;
  const std::int64_t row = first / a.channels, channel = first % a.channels;
  const std::int64_t at = row * a.degree * a.channels + channel;
  const Vector<float, kSize> t = load<kSize>(a.basis + at);
  Vector<float, kSize> previous, current = t, du = {};
#pragma unroll
  for (int i = 0; i < kSize; ++i) previous.v[i] = 1;
  const float* dbasis = a.dbasis + at;
  for (std::int64_t d = 1; d <= a.degree; ++d, dbasis += a.channels) {
    const Vector<float, kSize> gradient = load<kSize>(dbasis);
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      du.v[i] += gradient.v[i] * (static_cast<float>(d) * (previous.v[i] - t.v[i] * current.v[i]));
      const float next = 2 * t.v[i] * current.v[i] - previous.v[i];
      previous.v[i] = current.v[i];
      current.v[i] = next;
    }
  }
  store<kSize>(a.du + first, du);
}

// A thread takes all degrees of one input and output; its neighbours the next outputs.
__global__ void __launch_bounds__(kThreads) pack(Coefficients a) {
  const std::int64_t pair = global_thread();
  if (pair >= a.inputs * a.outputs) return;
  const float* from = a.coefficients + pair * (a.degree + 1);
  for (std::int64_t d = 1; d <= a.degree; ++d) a.packed[(d - 1) * a.inputs * a.outputs + pair] = from[d];
}

// bias[o] = sum over the inputs of the coefficients of T_0 = 1: a block takes 32 outputs, its warps slices of the
// inputs.
__global__ void __launch_bounds__(kThreads) add_up_constants(Coefficients a) {
  const std::int64_t output = own_column();
  const float sum = sum_of_column(0, output < a.outputs ? a.inputs : 0, [&](std::int64_t input) {
    return a.coefficients[(input * a.outputs + output) * (a.degree + 1)];
  });
  if (threadIdx.x < kWarp && output < a.outputs) a.bias[output] = sum;
}

// A thread takes all degrees of one input and output; its neighbours the next inputs, which lie beside each other in
// dpacked.
__global__ void __launch_bounds__(kThreads) add_gradient(CoefficientGradient a) {
  const std::int64_t pair = global_thread();
  if (pair >= a.inputs * a.outputs) return;
  const std::int64_t output = pair / a.inputs, input = pair % a.inputs;
  float* to = a.gradient + (input * a.outputs + output) * (a.degree + 1);
  const float* from = a.dpacked + output * a.degree * a.inputs + input;
  to[0] += a.dbias[output];
  for (std::int64_t d = 1; d <= a.degree; ++d) to[d] += from[(d - 1) * a.inputs];
}

std::int64_t blocks_for(std::int64_t threads) {
  return divided_up(threads, kThreads);
}

}  // namespace

void chebyshev_basis(const Chebyshev& a, Stream stream) {
  const std::int64_t elements = a.rows * a.channels;
  const Work work = {"chebyshev_basis", {reads(a.u, elements), writes(a.basis, a.degree * elements)}};
  if (a.channels % 4 == 0) {
    launch(work, {blocks_for(elements / 4)}, stream, &basis_of_rows<4>, a);
  } else {
    launch(work, {blocks_for(elements)}, stream, &basis_of_rows<1>, a);
  }
}

void chebyshev_backward(const ChebyshevBackward& a, Stream stream) {
  const std::int64_t elements = a.rows * a.channels;
  const Work work = {"chebyshev_backward",
                     {reads(a.basis, elements).among<float>(a.degree * elements), reads(a.dbasis, a.degree * elements),
                      writes(a.du, elements)}};
  if (a.channels % 4 == 0) {
    launch(work, {blocks_for(elements / 4)}, stream, &backward_of_rows<4>, a);
  } else {
    launch(work, {blocks_for(elements)}, stream, &backward_of_rows<1>, a);
  }
}

void pack_coefficients(const Coefficients& a, Stream stream) {
  const std::int64_t pairs = a.inputs * a.outputs, all = pairs * (a.degree + 1);
  launch({"pack_coefficients", {reads(a.coefficients, all), writes(a.packed, pairs * a.degree)}}, {blocks_for(pairs)},
         stream, &pack, a);
  launch({"pack_constants", {reads(a.coefficients, pairs).among<float>(all), writes(a.bias, a.outputs)}},
         {divided_up(a.outputs, kWarp)}, stream, &add_up_constants, a);
}

void add_coefficient_gradient(const CoefficientGradient& a, Stream stream) {
  const std::int64_t pairs = a.inputs * a.outputs;
  launch({"add_coefficient_gradient",
          {reads(a.dpacked, pairs * a.degree), reads(a.dbias, a.outputs), updates(a.gradient, pairs * (a.degree + 1))}},
         {blocks_for(pairs)}, stream, &add_gradient, a);
}

}  // namespace kangpt::operations::cuda
