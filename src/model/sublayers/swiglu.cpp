#include "model/sublayers/swiglu.hpp"

#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

Swiglu::Swiglu(Parameters parameters, SublayerTools tools, operations::Activations& activations)
    : parameters_(std::move(parameters)), tools_(tools), activations_(activations) {}

void Swiglu::forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  const std::int64_t hidden = parameters_.gate.value.size(0);
  reuse(kept.first, {u.size(0), hidden}, u.options());
  reuse(kept.second, {u.size(0), hidden}, u.options());
  forward_with({parameters_.gate.value.t(), parameters_.up.value.t(), parameters_.down.value.t()},
               {u, x, out, kept.first, kept.second});
}

void Swiglu::forward_with(const ProductWeights& weights, const Pass& pass) {
  const at::Tensor& activation = tools_.scratch.take(Slot::kWide, pass.gate.sizes());
  tools_.operations.multiply(pass.u, weights.gate, pass.gate);
  tools_.operations.multiply(pass.u, weights.up, pass.up);
  activations_.swiglu(pass.gate, pass.up, activation);
  if (!pass.out.is_same(pass.x)) pass.out.copy_(pass.x);
  tools_.operations.multiply_add(activation, weights.down, pass.out);
}

std::vector<at::Tensor> Swiglu::step_weights() const {
  return {parameters_.gate.value.t().contiguous(), parameters_.up.value.t().contiguous(),
          parameters_.down.value.t().contiguous()};
}

void Swiglu::step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows&, const Past& past) {
  const at::Tensor gate = at::empty({u.size(0), parameters_.gate.value.size(0)}, u.options());
  const at::Tensor up = at::empty_like(gate);
  forward_with({past.weight(0), past.weight(1), past.weight(2)}, {u, x, out, gate, up});
}

void Swiglu::backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) {
  const at::Tensor& activation = tools_.scratch.take(Slot::kWide, kept.first.sizes());
  const at::Tensor& dup = tools_.scratch.take(Slot::kWideGradient, kept.first.sizes());
  activations_.swiglu(kept.first, kept.second, activation);
  tools_.operations.multiply_add(dy.t(), activation, parameters_.down.gradient);
  tools_.operations.multiply(dy, parameters_.down.value, dup);
  const at::Tensor& dgate = activation;  // no longer needed
  activations_.swiglu_backward({kept.first, kept.second, dgate, dup});
  tools_.operations.multiply_add(dgate.t(), u, parameters_.gate.gradient);
  tools_.operations.multiply_add(dup.t(), u, parameters_.up.gradient);
  tools_.operations.multiply(dgate, parameters_.gate.value, du);
  tools_.operations.multiply_add(dup, parameters_.up.value, du);
}

}  // namespace kangpt::model
