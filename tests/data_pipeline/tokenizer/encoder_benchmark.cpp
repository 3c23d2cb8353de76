// Speed of the parts of the encoder on story text in memory: bytes a second. KANGPT_BENCHMARK_TEXT names a file of
// stories with <|endoftext|> lines; without it they are made up.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "data_pipeline/text/story_generator.hpp"
#include "data_pipeline/tokenizer/encoder.hpp"
#include "data_pipeline/tokenizer/unicode.hpp"
#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "data_pipeline/tokenizer/word_scanner.hpp"

namespace kangpt::data {
namespace {

constexpr std::string_view kSeparator = "\n<|endoftext|>\n";

// With room for padding.
const std::string& padded_text() {
  static const std::string text = [] {
    std::string stories;
    if (const char* const file = std::getenv("KANGPT_BENCHMARK_TEXT")) stories = base::read_file(file);
    for (std::uint64_t i = 0; stories.size() < 10000000; ++i) stories.append(make_story(1, i)).append(kSeparator);
    return stories.append(PaddedText::kPaddingBytes, ' ');
  }();
  return text;
}

PaddedText text() {
  return {std::string_view(padded_text()).substr(0, padded_text().size() - PaddedText::kPaddingBytes)};
}

const std::vector<PaddedText>& stories() {
  static const std::vector<PaddedText> found = [] {
    std::vector<PaddedText> result;
    for (std::string_view rest = text().text; !rest.empty();) {
      const std::size_t size = std::min(rest.find(kSeparator), rest.size());
      result.push_back({rest.substr(0, size)});
      rest.remove_prefix(std::min(size + kSeparator.size(), rest.size()));
    }
    return result;
  }();
  return found;
}

void count_bytes(benchmark::State& state) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          static_cast<std::int64_t>(text().text.size()));
}

void BM_ValidateUtf8(benchmark::State& state) {
  const PaddedText all = text();
  for (auto _ : state) benchmark::DoNotOptimize(valid_utf8_prefix(all.text));
  count_bytes(state);
}
BENCHMARK(BM_ValidateUtf8);

void scan(benchmark::State& state, WordScanner::Method method) {
  std::array<std::uint32_t, 512> starts{};
  const PaddedText all = text();
  for (auto _ : state) {
    WordScanner scanner(all, method);
    while (scanner.next(starts) != 0) benchmark::DoNotOptimize(starts);
  }
  count_bytes(state);
}
BENCHMARK_CAPTURE(scan, scalar, WordScanner::Method::kScalar);
BENCHMARK_CAPTURE(scan, avx2, WordScanner::Method::kBest);

// Story by story, as kangpt_preprocess does, each thread with an encoder that knows no word yet.
void BM_Encode(benchmark::State& state) {
  static const Vocabulary vocabulary = Vocabulary::load(find_vocabulary(""));
  constexpr std::size_t kBufferedIds = std::size_t{1} << 18;
  const std::vector<PaddedText>& all = stories();
  std::vector<std::uint32_t> ids;
  for (auto _ : state) {
    Encoder encoder(vocabulary);
    for (const PaddedText& story : all) {
      if (ids.size() > kBufferedIds) ids.clear();
      encoder.encode(story, ids);
    }
    benchmark::DoNotOptimize(ids.data());
  }
  count_bytes(state);
}
BENCHMARK(BM_Encode)->Threads(1)->Threads(2)->UseRealTime();

}  // namespace
}  // namespace kangpt::data
