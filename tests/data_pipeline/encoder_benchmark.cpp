// Speed of the parts of the encoder on story text, one thread, input in memory: bytes a second.
#include <benchmark/benchmark.h>

#include <array>
#include <string>
#include <vector>

#include "data_pipeline/encoder.hpp"
#include "data_pipeline/story_generator.hpp"
#include "data_pipeline/unicode.hpp"
#include "data_pipeline/vocabulary.hpp"
#include "data_pipeline/word_scanner.hpp"
#include "tests/support/files.hpp"

namespace kangpt::data {
namespace {

// Real stories where they are at hand, else made-up ones; 10 MB, and room for padding.
const std::string& padded_stories() {
  static const std::string text = [] {
    std::string stories;
    if (const auto data = test::shared_data()) stories = test::read_text(*data / "tinystories/train.txt");
    for (std::uint64_t i = 0; stories.size() < 10000000; ++i) stories += make_story(1, i) + "\n";
    stories.append(PaddedText::kPaddingBytes, ' ');
    return stories;
  }();
  return text;
}

PaddedText stories() {
  return {std::string_view(padded_stories()).substr(0, padded_stories().size() - PaddedText::kPaddingBytes)};
}

void count_bytes(benchmark::State& state) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          static_cast<std::int64_t>(stories().text.size()));
}

void BM_ValidateUtf8(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(valid_utf8_prefix(stories().text));
  count_bytes(state);
}
BENCHMARK(BM_ValidateUtf8);

void scan(benchmark::State& state, WordScanner::Method method) {
  std::array<std::uint32_t, 512> starts{};
  for (auto _ : state) {
    WordScanner scanner(stories(), method);
    while (scanner.next(starts) != 0) benchmark::DoNotOptimize(starts);
  }
  count_bytes(state);
}
BENCHMARK_CAPTURE(scan, scalar, WordScanner::Method::kScalar);
BENCHMARK_CAPTURE(scan, avx2, WordScanner::Method::kBest);

void BM_Encode(benchmark::State& state) {
  const Vocabulary vocabulary = Vocabulary::load(find_vocabulary(""));
  Encoder encoder(vocabulary);
  std::vector<std::uint32_t> ids;
  for (auto _ : state) {
    ids.clear();
    encoder.encode(stories(), ids);
    benchmark::DoNotOptimize(ids.data());
  }
  count_bytes(state);
}
BENCHMARK(BM_Encode);

}  // namespace
}  // namespace kangpt::data
