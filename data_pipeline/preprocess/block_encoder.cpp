#include "data_pipeline/preprocess/block_encoder.hpp"

#include <span>

#include "base/digest.hpp"

namespace kangpt::data {
namespace {

EncodedStory describe(const Story& story, Digests digests) {
  EncodedStory result;
  result.text_bytes = story.text.text.size();
  result.replaced_bytes = story.replaced_bytes;
  result.offset_bytes = story.offset_bytes;
  result.odd = story.odd;
  if (digests == Digests::kOfStories) result.digest = base::xxh3_128(std::as_bytes(std::span(story.text.text)));
  return result;
}

}  // namespace

StoryOptions story_options(const std::string& source, const PreprocessOptions& given) {
  return {format_of(source),
          source,
          given.key,
          given.invalid_utf8 == "replace" ? InvalidUtf8::kReplace : InvalidUtf8::kError,
          given.invalid_records == "skip" ? InvalidRecords::kSkip : InvalidRecords::kError,
          given.separator == "anywhere" ? SeparatorPlace::kAnywhere : SeparatorPlace::kOwnLine};
}

void encode_block(const TextBlock& block, const BlockOptions& options, Encoder& encoder, EncodedBlock& result) {
  result.text_xxh3 = base::xxh3(std::as_bytes(std::span(block.text())));
  result.stories.clear();
  result.tokens.clear();
  result.problems.clear();
  const bool surveyed = block.index < options.surveyed_blocks;
  if (surveyed && options.digests == Digests::kNone) return;
  const BlockStories found(block, options.stories);
  for (const Story& story : found.stories()) {
    EncodedStory encoded = describe(story, options.digests);
    if (!surveyed && encoded.text_bytes > 0) {
      const std::size_t first = result.tokens.size();
      encoder.encode(story.text, result.tokens);
      result.tokens.push_back(encoder.vocabulary().end_of_text());
      encoded.tokens = result.tokens.size() - first;
    }
    result.stories.push_back(encoded);
  }
  result.problems = found.problems();
}

}  // namespace kangpt::data
