// Micro-batches as tensors.
#pragma once

#include "operations/torch_prefix.hpp"
#include "training/batch_source.hpp"

namespace kangpt::training {

// Views of a MicroBatch on the CPU, or copies on another device. Views live as long as the MicroBatch.
struct BatchTensors {
  at::Tensor inputs;   // [rows, time] int64
  at::Tensor targets;  // [rows, time] int64
  at::Tensor mask;     // [rows, time] fp32
};

BatchTensors to_tensors(MicroBatch& batch, const at::Device& device);

}  // namespace kangpt::training
