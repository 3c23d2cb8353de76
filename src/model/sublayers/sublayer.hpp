// What stands inside a residual of the network: a mixer or a feed-forward part.
#pragma once

#include <memory>
#include <vector>

#include "model/sublayers/past.hpp"
#include "operations/convolutions.hpp"
#include "operations/operations.hpp"
#include "operations/parameter_views.hpp"
#include "operations/scratch.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::model {

// What sublayers are made of.
using operations::Convolutions;
using operations::DeformableTaps;
using operations::Dropout;
using operations::FusedResidual;
using operations::HeadShape;
using operations::LayerParameters;
using operations::Operations;
using operations::Parameter;
using operations::ParameterViews;
using operations::reuse;
using operations::Scratch;
using operations::SequenceShape;
using operations::StreamGradient;
using operations::Taps;

// What a sublayer's forward pass keeps for its backward pass.
struct Kept : operations::KeptTensors {
  SequenceShape shape;
  Dropout dropout;  // of what the sublayer adds to the residual stream
};

// A causal map of normalised activations. Owns no activation: `kept` and the scratch memory are the caller's.
class Sublayer {
 public:
  virtual ~Sublayer() = default;

  // out = x + f(u), all [rows, channels]; `out` may be `x`. REQUIRES: kept.shape is set.
  virtual void forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) = 0;
  // From dy, the gradient with respect to f(u): writes du and adds to the gradients of the parameters.
  virtual void backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) = 0;
  // The residual that it stands in, behind `norm`, where the operations have it as a whole; else null.
  virtual std::unique_ptr<FusedResidual> make_fused(const LayerParameters& /*norm*/) const { return nullptr; }
  // Whether forward() leaves anything in `kept` that backward() reads.
  virtual bool keeps_activations() const { return true; }

  // For texts that grow: what a Past of this sublayer holds for a position (0: it looks at no other position), and what
  // step() multiplies with.
  virtual std::int64_t past_features() const { return 0; }
  virtual std::vector<at::Tensor> step_weights() const = 0;
  // After forward() of one sequence: writes what step() will need of it, rows [time, past_features()].
  virtual void remember(const at::Tensor& /*u*/, const Kept& /*kept*/, const at::Tensor& /*rows*/) const {}
  // forward() for the newest position of some texts, u, x and out [rows, channels], which `past` then remembers too.
  virtual void step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
                    const Past& past) = 0;
};

// What every sublayer computes with.
struct SublayerTools {
  Operations& operations;
  Scratch& scratch;
};

}  // namespace kangpt::model
