// What kangpt_checkpoint says about checkpoints, as text.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/checkpoint.hpp"

namespace kangpt::tools {

// The checkpoints that PATH (a checkpoint folder, a run directory or its checkpoints/) stands for, newest first,
// damaged ones among them. Throws MissingInputError if there are none.
std::vector<std::filesystem::path> checkpoints_at(const std::filesystem::path& path);

// One line each; only manifests are read.
std::string list_text(const std::vector<std::filesystem::path>& folders);

// State, files, model and a line of statistics for each parameter.
std::string show_text(const io::Checkpoint& checkpoint);

struct CheckpointDifference {
  bool equal = false;  // all parameters, moments and averages have the same bits
  std::string text;
};
CheckpointDifference difference(const io::Checkpoint& a, const io::Checkpoint& b);

}  // namespace kangpt::tools
