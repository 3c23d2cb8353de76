#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr int kSize = 4;  // elements of a thread
constexpr std::int64_t kBlockElements = std::int64_t{kThreads} * kSize;
static_assert(sizeof(Adamw) + sizeof(bool) <= 4096);

struct Element {
  float p, m, v;
};

// Products and sums are fused where this says so and nowhere else: an element has the same bits wherever its part, or
// its rank's range, begins.
__device__ __forceinline__ Element updated(const Adamw& a, Element e, float gradient, float step_size, float decay) {
  const float g = gradient * a.gradient_scale;
  e.m = fmaf(a.beta1, e.m, a.one_minus_beta1 * g);
  e.v = fmaf(a.beta2, e.v, a.one_minus_beta2 * g * g);
  e.p = fmaf(-decay, e.p, e.p) - step_size * e.m / fmaf(sqrtf(e.v), a.root_correction, a.epsilon);
  return e;
}

// The last part that begins with this block or one before.
__device__ __forceinline__ int part_of_block(const Adamw& a) {
  int part = 0;
  for (int further = kAdamwParts / 2; further > 0; further /= 2) {
    if (part + further < a.count && blockIdx.x >= a.parts[part + further].first_block) part += further;
  }
  return part;
}

// Which factor is that of a thread's first element; next() goes on to the one behind it.
class Cycle {
 public:
  __device__ __forceinline__ Cycle(const Adamw& a, const AdamwPart& part, std::int64_t elements)
      : factors_(a.factors + part.first_factor),
        length_(part.cycle_length),
        place_(length_ == 1 ? 0 : static_cast<int>((part.cycle_start + elements) % length_)) {}
  __device__ __forceinline__ float next() {
    const float factor = factors_[place_];
    if (++place_ == length_) place_ = 0;
    return factor;
  }

 private:
  const float* factors_;
  int length_;
  int place_;
};

template <int kAtOnce>
__device__ __forceinline__ void update_some(const Adamw& a, const AdamwPart& part, std::int64_t first, Cycle& cycle) {
  auto p = load<kAtOnce>(a.parameters + first), m = load<kAtOnce>(a.first_moment + first);
  auto v = load<kAtOnce>(a.second_moment + first);
  const auto gradient = load<kAtOnce>(a.gradient + first);
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    const float factor = cycle.next();
    const Element e = updated(a, {p.v[i], m.v[i], v.v[i]}, gradient.v[i], part.step_size * factor, part.decay * factor);
    p.v[i] = e.p;
    m.v[i] = e.m;
    v.v[i] = e.v;
  }
  store_at_once<kAtOnce>(a.parameters + first, p);
  store_at_once<kAtOnce>(a.first_moment + first, m);
  store_at_once<kAtOnce>(a.second_moment + first, v);
  store<kAtOnce>(a.gradient + first, Vector<float, kAtOnce>{});
}

// A block takes kBlockElements of one part; `wide`: all parts begin at whole vectors.
__global__ void __launch_bounds__(kThreads) update_parts(const __grid_constant__ Adamw a, bool wide) {
  const AdamwPart& part = a.parts[part_of_block(a)];
  const std::int64_t in_part = (blockIdx.x - part.first_block) * kBlockElements + threadIdx.x * kSize;
  const std::int64_t first = part.begin + in_part;
  if (first >= part.end) return;
  Cycle cycle(a, part, in_part);
  if (wide && first + kSize <= part.end) return update_some<kSize>(a, part, first, cycle);
  for (std::int64_t i = first; i < first + kSize && i < part.end; ++i) update_some<1>(a, part, i, cycle);
}

bool begins_with_vectors(const Adamw& a) {
  bool all = true;
  for (const float* buffer : {a.parameters, a.first_moment, a.second_moment, a.gradient})
    all = all && reinterpret_cast<std::uintptr_t>(buffer) % sizeof(Vector<float, kSize>) == 0;
  for (int i = 0; i < a.count; ++i) all = all && a.parts[i].begin % kSize == 0;
  return all;
}

}  // namespace

void adamw(Adamw a, Stream stream) {
  std::int64_t blocks = 0, elements = 0;
  for (int i = 0; i < a.count; ++i) {
    a.parts[i].first_block = static_cast<unsigned>(blocks);
    elements += a.parts[i].end - a.parts[i].begin;
    blocks += divided_up(a.parts[i].end - a.parts[i].begin, kBlockElements);
  }
  const std::int64_t begin = a.parts[0].begin, extent = a.parts[a.count - 1].end - begin;
  const auto updated = [&](const float* buffer) { return updates(buffer + begin, elements).among<float>(extent); };
  launch({"adamw", {updated(a.parameters), updated(a.first_moment), updated(a.second_moment), updated(a.gradient)}},
         {blocks}, stream, &update_parts, a, begins_with_vectors(a));
}

}  // namespace kangpt::operations::cuda
