// Our side of tests/benchmark/compare.py: whole training steps on command.
#pragma once

#include <filesystem>
#include <iosfwd>

#include "config/run_config.hpp"

namespace kangpt::benchmarks {

// Draws the network's first weights from run.seed and writes a .safetensors file.
void write_first_weights(const config::RunConfig& config, const std::filesystem::path& path);

// Trains from model.initial_weights on one batch, int64 [train.batch_size, time + 1]: a row's inputs are all ids but
// its last, its targets all but its first. Reads a number of steps a line, runs them as a worker without other ranks
// does, and answers with a line of JSON: seconds and loss of each step, seconds of each part of the step, page faults,
// peak memory. Ends with the input.
void serve(const config::RunConfig& config, const std::filesystem::path& batch, std::istream& in, std::ostream& out);

}  // namespace kangpt::benchmarks
