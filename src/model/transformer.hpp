// The KAN-GPT network over flat parameter and gradient buffers.
#pragma once

#include <memory>

#include "base/parameter_table.hpp"
#include "config/run_config.hpp"
#include "operations/operations.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::model {

// Wall seconds spent in each part of the network, forward and backward, since its construction. Norms count with what
// follows them, the loss with the head.
struct PartSeconds {
  double embedding = 0;
  double mixer = 0;
  double feed_forward = 0;
  double head = 0;
};

// Views the flat buffers and owns neither. The buffers' dtype (fp32, or fp64 in tests) and device are the network's.
// Not thread-safe.
class Transformer {
 public:
  // `parameters` and `gradients`: 1-D, at least layout.flat_size elements, same dtype and device. `gradients` may be
  // undefined: then forward() and backward() may not be called.
  Transformer(const config::ModelConfig& config, const base::ParameterTable& layout, const at::Tensor& parameters,
              const at::Tensor& gradients);
  ~Transformer();

  // Runs the network on inputs, targets (int64) and mask (fp32), each [batch, time], time <= sequence_length, and keeps
  // what backward() needs. The head's weight gradient comes out of the same sweep over the vocabulary and is added to
  // the gradient buffer here already. Throws InternalError for wrong shapes, DataError for ids outside the vocabulary.
  operations::LossSum forward(const at::Tensor& inputs, const at::Tensor& targets, const at::Tensor& mask);
  // Adds the rest of the gradient of forward()'s loss *sum* to the gradient buffer. REQUIRES: one forward() since the
  // last backward().
  void backward();

  // Loss without gradient, nothing kept.
  operations::LossSum loss(const at::Tensor& inputs, const at::Tensor& targets, const at::Tensor& mask) const;
  // [batch, time], on the CPU or the network's device -> [batch, time, vocabulary], no gradient.
  at::Tensor logits(const at::Tensor& inputs) const;
  // Those of the last position alone, [batch, vocabulary].
  at::Tensor next_logits(const at::Tensor& inputs) const;

  // Of forward() and backward(), on a device whose operations have ended when their call returns.
  const PartSeconds& part_seconds() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kangpt::model
