// Whole residuals of the network, x + f(LN(x)), for devices where launches and passes over memory are what costs.
#pragma once

#include "operations/parameter_views.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations {

// [batch, time]; activations are [rows, channels] with rows = batch * time, row b * time + t.
struct SequenceShape {
  std::int64_t batch = 0;
  std::int64_t time = 0;

  std::int64_t rows() const noexcept { return batch * time; }
};

struct HeadShape {
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;

  std::int64_t features() const noexcept { return heads * head_dim; }
};

// What a residual's forward pass keeps for its backward pass.
struct KeptTensors {
  at::Tensor statistics;  // of the layer norm, [2, rows]
  at::Tensor first;       // the others: its sublayer's own
  at::Tensor second;
  at::Tensor third;
  at::Tensor fourth;
};

// The gradient of the residual stream on its way from the last residual to the first.
struct StreamGradient {
  at::Tensor values;  // [rows, channels]
  // Whether `values` have just been written by a fused residual, which leaves a copy for the products of the next one.
  bool is_copied = false;
};

// One residual. May own memory that it shares with others of the same Operations.
class FusedResidual {
 public:
  virtual ~FusedResidual() = default;
  // Whether it can be used with this shape, forward and backward.
  virtual bool fits(SequenceShape shape) const = 0;
  // out = x + f(LN(x)); `out` may be `x`, but then backward() can't follow. Shapes and fills `kept`.
  virtual void forward(const at::Tensor& x, const at::Tensor& out, SequenceShape shape, KeptTensors& kept) = 0;
  // As ResidualBlock::backward(); adds to the gradients of the parameters.
  virtual void backward(const at::Tensor& x, StreamGradient& dx, SequenceShape shape, const KeptTensors& kept) = 0;
};

struct AttentionParameters {
  LayerParameters query;
  LayerParameters key;
  LayerParameters value;
  LayerParameters output;
};

}  // namespace kangpt::operations
