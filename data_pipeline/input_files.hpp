// The files that kangpt_preprocess reads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kangpt::data {

// Replaces each directory by the .txt, .jsonl, .ndjson and .json files in it and below (.gz and .zst ones too), by
// name. Throws MissingInputError for what is not there, or a directory without such files.
std::vector<std::string> expand_inputs(const std::vector<std::string>& paths);

// 0 if one is not a regular file.
std::uint64_t total_bytes(const std::vector<std::string>& paths);

}  // namespace kangpt::data
