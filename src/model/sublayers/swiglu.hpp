// The gated perceptron with SiLU (Shazeer, GLU Variants Improve Transformer, 2020).
#pragma once

#include "model/sublayers/sublayer.hpp"
#include "operations/activations.hpp"

namespace kangpt::model {

// y = down(silu(gate(u)) * up(u)), without biases. Keeps gate(u) and up(u), [rows, hidden].
class Swiglu : public Sublayer {
 public:
  struct Parameters {
    Parameter gate;  // [hidden, channels]
    Parameter up;
    Parameter down;  // [channels, hidden]
  };

  // Borrows `tools` and `activations`.
  Swiglu(Parameters parameters, SublayerTools tools, operations::Activations& activations);

  void forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) override;
  void backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) override;

  std::vector<at::Tensor> step_weights() const override;
  void step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
            const Past& past) override;

 private:
  // Transposed: [inputs, outputs].
  struct ProductWeights {
    at::Tensor gate;
    at::Tensor up;
    at::Tensor down;
  };
  struct Pass {
    const at::Tensor& u;
    const at::Tensor& x;
    const at::Tensor& out;
    const at::Tensor& gate;  // become gate(u) and up(u)
    const at::Tensor& up;
  };
  void forward_with(const ProductWeights& weights, const Pass& pass);

  Parameters parameters_;
  SublayerTools tools_;
  operations::Activations& activations_;
};

}  // namespace kangpt::model
