// Looking at a data directory: kangpt_preprocess verify and show.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "data_pipeline/tokenizer/vocabulary.hpp"

namespace kangpt::tools {

// Re-checks every digest, checksum, count and token of all splits. Prints a line a shard on standard output. Throws
// DataError that names the first damaged file.
void verify_directory(const std::filesystem::path& directory);

// Prints what is in the directory: sources and counts, and for each split the lengths of its stories, its most frequent
// tokens and how its first stories begin. Throws DataError if `vocabulary` is not the one the data was made with.
void show_directory(const std::filesystem::path& directory, const data::Vocabulary& vocabulary);

// The text of story `story` of a split (without end-of-text). Throws UsageError if there is no such story, DataError if
// `vocabulary` is not the one the data was made with.
std::string story_text(const std::filesystem::path& directory, const std::string& split, std::uint64_t story,
                       const data::Vocabulary& vocabulary);

}  // namespace kangpt::tools
