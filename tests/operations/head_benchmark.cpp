// Logits, loss and both gradients of the parity network's head, which all networks share: 16 sequences of 64 tokens, on
// all threads, for vocabularies of GPT-2's size, of a round size and of sizes beside it. Whole steps are timed by
// tests/benchmark/compare.py.
#include <benchmark/benchmark.h>

#include "operations/operations.hpp"

namespace kangpt::operations {
namespace {

constexpr std::int64_t kRows = 16 * 64;
constexpr std::int64_t kChannels = 128;

void head(benchmark::State& state) {
  const std::int64_t vocabulary = state.range(0);
  const std::unique_ptr<Operations> operations = make_operations(Kernels::kCpu, config::Precision::kFp32);
  const at::Tensor x = at::randn({kRows, kChannels});
  const at::Tensor dx = at::empty_like(x);
  const at::Tensor weight = at::randn({vocabulary, kChannels}) * 0.1;
  const Parameter parameter = {weight, at::zeros_like(weight)};
  const LossTargets targets = {at::randint(vocabulary, {kRows}, at::kLong), at::ones({kRows})};
  for (auto repetition : state) operations->head_loss_and_gradient(x, parameter, targets, dx);
}

BENCHMARK(head)->Arg(50257)->Arg(8192)->Arg(8191)->Arg(8193)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace kangpt::operations
