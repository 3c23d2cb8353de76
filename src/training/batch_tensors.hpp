// Micro-batches as tensors.
#pragma once

#include "operations/torch_prefix.hpp"
#include "training/batch_source.hpp"

namespace kangpt::training {

// Views of a MicroBatch, valid as long as it lives.
struct BatchTensors {
  at::Tensor inputs;   // [rows, time] int64
  at::Tensor targets;  // [rows, time] int64
  at::Tensor mask;     // [rows, time] fp32
};

BatchTensors to_tensors(MicroBatch& batch);

}  // namespace kangpt::training
