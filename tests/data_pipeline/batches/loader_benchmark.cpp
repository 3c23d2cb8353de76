// Speed of reading tokens on one thread: random windows, the same with prefetching, checking of checksums.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>

#include "data_pipeline/batches/batches.hpp"
#include "data_pipeline/batches/prefetch.hpp"
#include "data_pipeline/shards/dataset.hpp"
#include "tests/data_pipeline/shards/small_dataset.hpp"
#include "tests/support/files.hpp"

namespace kangpt::data {
namespace {

// 50 M tokens in two shards: more than any cache holds.
const test::TemporaryDirectory& dataset() {
  static const test::TemporaryDirectory folder;
  static const bool written = [] {
    std::mt19937_64 random(1);
    test::Stories stories(200000);
    for (auto& story : stories) {
      story.resize(150 + random() % 200);
      for (std::uint32_t& token : story) token = static_cast<std::uint32_t>(random() % 50256);
    }
    test::write_dataset(folder.path(), stories, stories.size() / 2);
    return true;
  }();
  benchmark::DoNotOptimize(written);
  return folder;
}

BatchOptions options(std::int64_t sequence_length) {
  BatchOptions result;
  result.sources = open_sources({{dataset().path()}});
  result.sequence_length = static_cast<int>(sequence_length);
  result.batch_size = 16;
  return result;
}

void count_tokens(benchmark::State& state) {
  const auto tokens = static_cast<double>(state.iterations()) * 16.0 * static_cast<double>(state.range(0));
  state.counters["tokens"] = benchmark::Counter(tokens, benchmark::Counter::kIsRate);
}

void BM_RandomWindows(benchmark::State& state) {
  const auto source = open_batches(options(state.range(0)));
  std::uint64_t batch = 0;
  for (auto _ : state) benchmark::DoNotOptimize(source->micro_batch(batch++, 0));
  count_tokens(state);
}
BENCHMARK(BM_RandomWindows)->Arg(64)->Arg(512);

void BM_PrefetchedWindows(benchmark::State& state) {
  const auto source = prefetch(open_batches(options(state.range(0))), {});
  std::uint64_t batch = 0;
  for (auto _ : state) benchmark::DoNotOptimize(source->micro_batch(batch++, 0));
  count_tokens(state);
}
BENCHMARK(BM_PrefetchedWindows)->Arg(64)->Arg(512);

void BM_Verify(benchmark::State& state) {
  std::int64_t bytes = 0;
  for (auto _ : state) {
    TokenStore store(dataset().path(), kTrainSplit);
    store.verify();
    bytes += static_cast<std::int64_t>(store.tokens() * 2);
  }
  state.SetBytesProcessed(bytes);
}
BENCHMARK(BM_Verify);

}  // namespace
}  // namespace kangpt::data
