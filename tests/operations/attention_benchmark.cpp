// Attention forward and backward over 4,096 rows of 512 features, on all threads, at lengths of sequences and widths of
// heads. GFLOP/s count the products that causal attention needs: 2 of each pair of times that sees each other forward,
// 5 backward. `share`: of the rate of a large matrix product; the "/s" behind it is the library's.
#include <benchmark/benchmark.h>

#include "operations/matrix_rate.hpp"
#include "operations/operations.hpp"

namespace kangpt::operations {
namespace {

constexpr std::int64_t kRows = 4096;
constexpr std::int64_t kFeatures = 512;

enum class Pass { kForward, kBackward };

void attention(benchmark::State& state, Pass pass) {
  const SequenceShape shape = {kRows / state.range(0), state.range(0)};
  const HeadShape heads = {kFeatures / state.range(1), state.range(1)};
  const std::unique_ptr<Operations> operations = make_operations(Kernels::kCpu, config::Precision::kFp32);
  const at::Tensor qkv = at::randn({kRows, 3 * kFeatures});
  const at::Tensor context = at::empty({kRows, kFeatures});
  const at::Tensor log_sums = at::empty({shape.batch, heads.heads, shape.time});
  const at::Tensor dcontext = at::randn({kRows, kFeatures});
  const at::Tensor dqkv = at::empty_like(qkv);
  const double rate = matrix_rate(at::kCPU, at::kFloat);
  operations->attention(qkv, shape, heads, {context, log_sums});
  for (auto repetition : state) {
    if (pass == Pass::kForward) {
      operations->attention(qkv, shape, heads, {context, log_sums});
    } else {
      operations->attention_backward({qkv, {context, log_sums}, dcontext, dqkv}, shape, heads);
    }
  }
  const double pairs = kRows * kFeatures * 0.5 * static_cast<double>(shape.time + 1);
  const double flop = 2 * (pass == Pass::kForward ? 2 : 5) * pairs * static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = benchmark::Counter(flop * 1e-9, benchmark::Counter::kIsRate);
  state.counters["share"] = benchmark::Counter(flop / rate, benchmark::Counter::kIsRate);
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"time", "head_dim"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const std::int64_t time : {64, 128, 512, 1024, 4096}) {
    for (const std::int64_t head_dim : {2, 16, 64}) benchmark->Args({time, head_dim});
  }
}
BENCHMARK_CAPTURE(attention, forward, Pass::kForward)->Apply(shapes);
BENCHMARK_CAPTURE(attention, backward, Pass::kBackward)->Apply(shapes);

}  // namespace
}  // namespace kangpt::operations
