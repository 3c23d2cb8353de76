// One block of text to the token ids of its stories.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "data_pipeline/shards/manifest.hpp"
#include "data_pipeline/text/stories.hpp"
#include "data_pipeline/text/text_blocks.hpp"
#include "data_pipeline/tokenizer/encoder.hpp"

namespace kangpt::data {

// 128 bits of XXH3: no two different texts have been known to share them.
using StoryDigest = std::array<std::uint64_t, 2>;

struct EncodedStory {
  std::uint64_t tokens = 0;  // end-of-text token included; 0: the story is empty
  std::uint64_t text_bytes = 0;
  std::uint64_t replaced_bytes = 0;
  std::uint64_t offset_bytes = 0;  // in the decompressed source, of the story or its JSON
  Oddities odd;                    // with skipped_records it stands in the place of a story
  StoryDigest digest{};            // of the text, where wanted
};

struct EncodedBlock {
  std::uint64_t text_xxh3 = 0;  // of the block's text
  std::vector<EncodedStory> stories;
  std::vector<std::string> problems;  // of the first skipped records
  std::vector<std::uint32_t> tokens;  // of all stories, one after the other
};

enum class Digests { kNone, kOfStories };

struct BlockOptions {
  StoryOptions stories;
  Digests digests = Digests::kNone;
  std::uint64_t surveyed_blocks = 0;  // so many first blocks come without tokens: they were encoded in an earlier run
};

// How stories are found in a source, as the options of kangpt_preprocess say it.
StoryOptions story_options(const std::string& source, const PreprocessOptions& given);

// Replaces what is in `result` (its buffers are used again). Throws DataError where the text is wrong.
void encode_block(const TextBlock& block, const BlockOptions& options, Encoder& encoder, EncodedBlock& result);

}  // namespace kangpt::data
