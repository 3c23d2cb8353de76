// One block of text to the token ids of its stories.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/encoder.hpp"
#include "data_pipeline/text_blocks.hpp"

namespace kangpt::data {

enum class InvalidUtf8 { kError, kReplace };

struct StoryText {
  std::string_view text;           // white space at both ends stripped; may be empty
  std::uint64_t offset_bytes = 0;  // of `text` in its source
};

// The stories of a block, empty ones included; what follows the last separator is one only if it is not blank.
std::vector<StoryText> split_stories(const TextBlock& block);

struct EncodedStory {
  std::uint64_t tokens = 0;  // end-of-text token included; 0: the story is empty
  std::uint64_t text_bytes = 0;
  std::uint64_t replaced_bytes = 0;
};

struct EncodedBlock {
  std::vector<std::uint32_t> tokens;  // of all stories, one after the other
  std::vector<EncodedStory> stories;
  std::uint64_t text_xxh3 = 0;  // of the block's text
};

// Throws DataError "input SOURCE: invalid UTF-8 at byte N" under InvalidUtf8::kError.
EncodedBlock encode_block(const TextBlock& block, const std::string& source, InvalidUtf8 policy, Encoder& encoder);

}  // namespace kangpt::data
