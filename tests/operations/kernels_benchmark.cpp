// Vector kernels of the CPU on one thread, at the sizes of the parity network: one chunk of rows that stays in cache.
#include <benchmark/benchmark.h>

#include <vector>

#include "operations/cpu/kernels.hpp"

namespace kangpt::operations::cpu {
namespace {

constexpr std::int64_t kRows = 128;
constexpr std::int64_t kChannels = 128;
constexpr std::int64_t kDegree = 8;

std::vector<float> values(std::int64_t count) {
  return std::vector<float>(static_cast<std::size_t>(count), 0.25F);
}

// Reports `elements` a call, so that the rate is comparable between kernels.
template <class Body>
void measure(benchmark::State& state, std::int64_t elements, const Body& body) {
  for (auto repetition : state) {
    body();
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * elements);
}

void layer_norm_forward(benchmark::State& state) {
  std::vector<float> x = values(kRows * kChannels), u = x, weight = values(kChannels), mean = values(kRows),
                     scale = mean;
  measure(state, kRows * kChannels, [&] {
    layer_norm(LayerNorm<float>{x.data(), weight.data(), weight.data(), u.data(), mean.data(), scale.data(), kRows,
                                kChannels});
  });
}
BENCHMARK(layer_norm_forward);

void layer_norm_gradient(benchmark::State& state) {
  std::vector<float> x = values(kRows * kChannels), du = x, dx = x, weight = values(kChannels), dweight = weight,
                     dbias = weight, mean = values(kRows);
  measure(state, kRows * kChannels, [&] {
    layer_norm_backward(LayerNormBackward<float>{x.data(), mean.data(), mean.data(), weight.data(), du.data(),
                                                 dx.data(), dweight.data(), dbias.data(), kRows, kChannels});
  });
}
BENCHMARK(layer_norm_gradient);

void chebyshev_forward(benchmark::State& state) {
  std::vector<float> u = values(kRows * kChannels), basis = values(kRows * kChannels * kDegree);
  measure(state, kRows * kChannels, [&] {
    chebyshev_basis(Chebyshev<float>{u.data(), basis.data(), kRows, kChannels, kDegree});
  });
}
BENCHMARK(chebyshev_forward);

void chebyshev_gradient(benchmark::State& state) {
  std::vector<float> du = values(kRows * kChannels), basis = values(kRows * kChannels * kDegree), dbasis = basis;
  measure(state, kRows * kChannels, [&] {
    chebyshev_backward(ChebyshevBackward<float>{basis.data(), dbasis.data(), du.data(), kRows, kChannels, kDegree});
  });
}
BENCHMARK(chebyshev_gradient);

void attention_of_sequence(benchmark::State& state, void (*kernel)(const Attention<float>&)) {
  constexpr std::int64_t kTime = 64, kHeads = 8, kHeadDim = 2;
  std::vector<float> qkv = values(kTime * 3 * kHeads * kHeadDim), dqkv = qkv,
                     context = values(kTime * kHeads * kHeadDim), dcontext = context, log_sums = values(kHeads * kTime),
                     scratch = values(attention_scratch_size(kTime, kHeadDim));
  measure(state, kTime, [&] {
    kernel(Attention<float>{qkv.data(), context.data(), log_sums.data(), dcontext.data(), dqkv.data(), scratch.data(),
                            kTime, kHeads, kHeadDim});
  });
}
BENCHMARK_CAPTURE(attention_of_sequence, forward, attention);
BENCHMARK_CAPTURE(attention_of_sequence, backward, attention_backward);

void gelu_of_rows(benchmark::State& state, void (*kernel)(const Gelu<float>&)) {
  std::vector<float> z = values(kRows * kChannels), result = z;
  measure(state, kRows * kChannels, [&] { kernel(Gelu<float>{z.data(), result.data(), kRows * kChannels}); });
}
BENCHMARK_CAPTURE(gelu_of_rows, forward, gelu);
BENCHMARK_CAPTURE(gelu_of_rows, backward, gelu_backward);

void softmax_of_tile(benchmark::State& state) {
  std::vector<float> tile = values(256 * 512), maximum = values(512), sum = maximum;
  measure(state, 256 * 512, [&] {
    softmax_tile(SoftmaxTile<float>{tile.data(), maximum.data(), sum.data(), 256, 512});
  });
}
BENCHMARK(softmax_of_tile);

void scaled_sum_of_tile(benchmark::State& state) {
  std::vector<float> tile = values(kChannels * 512), sum = tile, factor = values(512);
  measure(state, kChannels * 512, [&] {
    add_scaled_columns(AddScaledColumns<float>{tile.data(), factor.data(), sum.data(), kChannels, 512});
  });
}
BENCHMARK(scaled_sum_of_tile);

void transposition(benchmark::State& state) {
  std::vector<float> source = values(512 * kChannels), target = source;
  measure(state, 512 * kChannels, [&] {
    transpose(Transpose<float>{source.data(), target.data(), 512, kChannels, kChannels, 512});
  });
}
BENCHMARK(transposition);

}  // namespace
}  // namespace kangpt::operations::cpu
