// Small checkpoints for tests: known contents, written as a world of any size writes them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "io/checkpoint.hpp"

namespace kangpt::test {

struct FlatState {
  std::vector<float> parameters;
  std::vector<float> first_moment;
  std::vector<float> second_moment;
  std::vector<float> average = {};  // empty: none is kept

  io::FlatRange range(std::uint64_t begin, std::uint64_t size) const;
};

// Random values for `table`, zero in the gaps and in the padding up to `padded_size`.
FlatState random_flat_state(const base::ParameterTable& table, std::uint64_t padded_size, std::uint64_t seed);

// Three parameters with gaps between them.
base::ParameterTable small_table();

// A state in which every field differs from its default.
io::TrainingState training_state(std::uint64_t step);

// Weights that state.average is said to be of.
inline constexpr std::uint64_t kAveragedWeights = 9;

// A manifest without files.
io::CheckpointManifest manifest_for(const base::ParameterTable& table, std::uint64_t step);

// Writes and commits step `step` of `state` as `world_size` ranks would. The size of the arrays must be a multiple of
// world_size. Returns the final folder.
std::filesystem::path write_checkpoint(const std::filesystem::path& checkpoints, std::uint64_t step, int world_size,
                                       const FlatState& state);

}  // namespace kangpt::test
