#include "tests/io/checkpoint_fixture.hpp"

#include <algorithm>
#include <random>

namespace kangpt::test {

namespace {

std::vector<float> random_values(const base::ParameterTable& table, std::uint64_t size, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(size, 0.0F);
  for (const base::ParameterEntry& entry : table.entries) {
    for (std::uint64_t i = 0; i < entry.size; ++i) values[entry.offset + i] = normal(random);
  }
  return values;
}

}  // namespace

io::FlatRange FlatState::range(std::uint64_t begin, std::uint64_t size) const {
  const auto part = [&](const std::vector<float>& values) {
    return values.empty() ? std::span<const float>() : std::span(values).subspan(begin, size);
  };
  return {begin, part(parameters), part(first_moment), part(second_moment), part(average)};
}

FlatState random_flat_state(const base::ParameterTable& table, std::uint64_t padded_size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  FlatState state;
  state.parameters = random_values(table, padded_size, random);
  state.first_moment = random_values(table, padded_size, random);
  state.second_moment = random_values(table, padded_size, random);
  return state;
}

base::ParameterTable small_table() {
  base::ParameterTable table;
  table.entries = {{"embedding.weight", {5, 3}, 0, 15}, {"layers.0.bias", {7}, 16, 7}, {"head.weight", {2, 4}, 32, 8}};
  table.flat_size = 40;
  table.parameter_count = 30;
  return table;
}

io::TrainingState training_state(std::uint64_t step) {
  io::TrainingState state = {step, step + 1, step + 2, 1u << 20,  3,      ~0ull, 0x123456789abcdef0,
                             16,   4,        2,        1.0 / 3.0, 1e-300, 7,     2.5};
  state.best_step = std::min<std::uint64_t>(step, 5);
  return state;
}

io::CheckpointManifest manifest_for(const base::ParameterTable& table, std::uint64_t step) {
  io::CheckpointManifest manifest;
  manifest.state = training_state(step);
  manifest.configuration = "run {\n  directory: \"runs/\\\"x\\\"\"\n}\n";
  manifest.program_version = "0.1.0 test";
  manifest.parameters = table;
  return manifest;
}

std::filesystem::path write_checkpoint(const std::filesystem::path& checkpoints, std::uint64_t step, int world_size,
                                       const FlatState& state) {
  io::CheckpointManifest manifest = manifest_for(small_table(), step);
  manifest.flat_size = state.parameters.size();
  manifest.state.averaged_weights = state.average.empty() ? 0 : kAveragedWeights;
  const std::filesystem::path folder = io::begin_checkpoint(checkpoints, step);
  const std::uint64_t size = manifest.flat_size / static_cast<std::uint64_t>(world_size);
  for (int rank = 0; rank < world_size; ++rank) {
    const std::uint64_t begin = static_cast<std::uint64_t>(rank) * size;
    manifest.files.push_back(io::write_range(folder, {rank, world_size}, step, state.range(begin, size)));
  }
  io::commit_checkpoint(folder, manifest);
  return checkpoints / io::checkpoint_name(step);
}

}  // namespace kangpt::test
