// Causal self-attention with several heads.
#pragma once

#include "model/sublayers/sublayer.hpp"

namespace kangpt::model {

// Row h * head_dim + j of query, key and value is feature j of head h; column h * head_dim + j of output likewise.
// Keeps queries, keys and values [rows, 3 * features], the context [rows, features] and the log-sums of its weights.
class Attention : public Sublayer {
 public:
  using Parameters = operations::AttentionParameters;
  // Borrows `tools`.
  Attention(Parameters parameters, HeadShape heads, SublayerTools tools);

  void forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) override;
  void backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) override;
  std::unique_ptr<FusedResidual> make_fused(const LayerParameters& norm) const override {
    return tools_.operations.make_attention_residual(norm, parameters_, heads_);
  }

  std::int64_t past_features() const override { return 2 * heads_.features(); }
  std::vector<at::Tensor> step_weights() const override;
  void remember(const at::Tensor& u, const Kept& kept, const at::Tensor& rows) const override;
  void step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
            const Past& past) override;

 private:
  // The three projections as one [3 * features, channels].
  const at::Tensor& packed_weight();

  Parameters parameters_;
  HeadShape heads_;
  SublayerTools tools_;
};

}  // namespace kangpt::model
