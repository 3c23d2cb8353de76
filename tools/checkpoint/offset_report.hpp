// Where the taps of a deformable convolution have moved, from the weights alone.
#pragma once

#include <string>

#include "io/checkpoint.hpp"

namespace kangpt::tools {

// One line a layer: mean and spread of the learnt offsets. Offsets depend on the input; the figures are those for
// normalised inputs that are independent of each other, with the mean and deviation that the layer's mixer_norm gives
// them. Throws UsageError where the model has no deformable mixer, CheckpointError.
std::string offsets_text(const io::Checkpoint& checkpoint);

}  // namespace kangpt::tools
