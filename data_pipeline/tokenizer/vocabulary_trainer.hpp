// Makes a byte-level BPE vocabulary from the words of a text.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "data_pipeline/tokenizer/word_counts.hpp"

namespace kangpt::data {

inline constexpr std::uint32_t kSmallestTrainedVocabulary = 257;  // all bytes and <|endoftext|>

// Merges again and again the two neighbours that stand most often beside each other within words (Sennrich, Haddow and
// Birch 2016), as Hugging Face's BpeTrainer with the alphabet of all bytes does: of pairs equally often the one with
// the lowest ids, left before right. Ids are GPT-2's: bytes, then tokens in the order in which they were made, then
// <|endoftext|>. Stops at `size` tokens, or before, where no pair is left. `on_token` is told how many there are.
VocabularyParts train_vocabulary(const std::vector<WordCounts::Word>& words, std::uint32_t size,
                                 const std::function<void(std::uint32_t)>& on_token = {});

}  // namespace kangpt::data
