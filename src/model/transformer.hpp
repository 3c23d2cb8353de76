// The KAN-GPT network over flat parameter and gradient buffers.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/parameter_table.hpp"
#include "config/run_config.hpp"
#include "model/sublayers/past.hpp"
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

// Of one training pass.
struct TrainingLoss {
  operations::QueuedLoss loss;  // nats, summed over the targets that count
  double tokens = 0;            // how many these are
};

// What a network reads and writes, and with whose operations. `gradients` may be undefined: then forward() and
// backward() may not be called.
struct FlatBuffers {
  at::Tensor parameters;  // 1-D, at least as many elements as the layout
  at::Tensor gradients;   // the same, of the same dtype and device
  operations::Kernels kernels = operations::kernels_of(parameters.device());
};

// Where in a run a training pass is: this decides what dropout leaves out.
struct PassPosition {
  std::uint64_t seed = 0;            // run.seed
  std::uint64_t step = 0;            // from 1
  std::uint64_t first_sequence = 0;  // number of the pass's first sequence among all of the step
};

// Views the flat buffers and owns neither. The buffers' dtype (fp32, or fp64 in tests) and device are the network's.
// Not thread-safe.
class Transformer {
 public:
  Transformer(const config::ModelConfig& config, const base::ParameterTable& layout, const FlatBuffers& buffers);
  ~Transformer();

  // Runs the network on inputs, targets (int64) and mask (fp32), each [batch, time], time <= sequence_length, on the
  // host; nothing in here waits for the network's device. Keeps what backward() needs. The head's
  // weight gradient comes out of the same sweep over the vocabulary and is added to the gradient buffer here already.
  // Throws InternalError for wrong shapes, DataError for ids outside the vocabulary. Only this and backward() know
  // dropout.
  TrainingLoss forward(const at::Tensor& inputs, const at::Tensor& targets, const at::Tensor& mask,
                       const PassPosition& position = {});
  // Adds the rest of the gradient of forward()'s loss *sum* to the gradient buffer. REQUIRES: one forward() since the
  // last backward().
  void backward();

  // Loss without gradient, nothing kept.
  operations::LossSum loss(const at::Tensor& inputs, const at::Tensor& targets, const at::Tensor& mask) const;
  // [batch, time], on the CPU or the network's device -> [batch, time, vocabulary], no gradient.
  at::Tensor logits(const at::Tensor& inputs) const;

  // Texts that grow by a token at a time, without computing anew what comes before (GrowingTexts is how to use it). An
  // empty past of `texts` texts of up to `window` <= sequence_length positions; the weights must not change while it is
  // used.
  struct TextsPast {
    std::vector<Past> blocks;
    at::Tensor head;  // [channels, vocabulary]
  };
  TextsPast make_past(std::int64_t texts, std::int64_t window) const;
  // inputs: [batch, time]. Logits of the last position alone, [batch, vocabulary].
  at::Tensor next_logits(const at::Tensor& inputs, const TextsPast& past) const;
  // The same for one text, inputs [1, time], that becomes text `text` of the past.
  at::Tensor begin_text(const at::Tensor& inputs, std::int64_t text, TextsPast& past) const;
  // Adds one token to each text that `rows` names, at its position; tokens [rows]. Logits behind them, [rows,
  // vocabulary]. A row's bits are the same whatever other rows there are.
  at::Tensor grow(const at::Tensor& tokens, const NewRows& rows, TextsPast& past) const;

  at::Device device() const noexcept;

  // Of forward() and backward(), on a device whose operations have ended when their call returns.
  const PartSeconds& part_seconds() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kangpt::model
