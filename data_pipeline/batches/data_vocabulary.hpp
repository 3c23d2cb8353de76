// The vocabulary that data were made with.
#pragma once

#include <optional>
#include <vector>

#include "data_pipeline/batches/data_sources.hpp"
#include "data_pipeline/tokenizer/vocabulary.hpp"

namespace kangpt::data {

// It lies in the data directory; of directories that an earlier version made, which kept none, it is known where it is
// GPT-2's in the cache. Nothing where it is neither. Who can do without it goes on; all sources have the same one.
std::optional<Vocabulary> vocabulary_of(const std::vector<OpenedSource>& sources);

}  // namespace kangpt::data
