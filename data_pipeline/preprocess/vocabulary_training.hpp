// A vocabulary of its own for a text: counts the words of its stories and trains on them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data_pipeline/shards/manifest.hpp"
#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "data_pipeline/tokenizer/word_counts.hpp"

namespace kangpt::data {

struct VocabularyRequest {
  std::vector<std::string> files;  // "-" is standard input
  PreprocessOptions options;       // how stories are found in them
  std::uint32_t size = 0;          // tokens, <|endoftext|> included
  int workers = 0;                 // 0: one a core; the result is the same for any number
};

// Reads all files once, with a progress line. Memory grows with the number of distinct words. Throws as preprocess()
// does where a text is wrong.
WordCounts count_words(const VocabularyRequest& request);

// Says on standard output what it made, and warns where the text has too few pairs for `size` tokens. Throws DataError
// where there is no text. The vocabulary's file is a tokenizer.json.
Vocabulary train_vocabulary(const VocabularyRequest& request);

}  // namespace kangpt::data
