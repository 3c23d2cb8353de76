#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>

#include "operations/cuda/kernels.hpp"
#include "operations/cuda/long_attention.hpp"
#include "operations/cuda/products.hpp"
#include "operations/cuda/residuals.hpp"
#include "operations/cuda/tensors.hpp"
#include "operations/cuda_makers.hpp"
#include "operations/operations.hpp"

namespace kangpt::operations {
namespace {

using cuda::Before;
using cuda::read;
using cuda::Reserve;
using cuda::stream_of;
using cuda::written;

constexpr std::int64_t kLogitsBytes = 1 << 30;  // of the logits that exist at once
constexpr std::int64_t kMostLossRows = 8192;

class CudaOperations final : public Operations {
 public:
  explicit CudaOperations(config::Precision precision)
      : rounds_(precision == config::Precision::kBf16),
        aten_(make_aten_operations(precision)),
        residuals_(rounds_ ? cuda::OperandType::kBfloat16 : cuda::OperandType::kFp32) {}

  void multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) override {
    cuda::multiply(operand(a, left_), operand(b, right_), c);
  }
  void multiply_add(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) override {
    cuda::multiply(operand(a, left_), operand(b, right_), c, Before::kAddedTo);
  }

  void layer_norm(const at::Tensor& x, const LayerParameters& norm, const at::Tensor& u,
                  const at::Tensor& statistics) override {
    if (!cuda::has_layer_norm(x.size(1))) return aten_->layer_norm(x, norm, u, statistics);
    cuda::layer_norm({read(x), read(norm.weight.value), read(norm.bias.value), written(u), written(statistics[0]),
                      written(statistics[1]), x.size(0), x.size(1), static_cast<float>(kLayerNormEpsilon)},
                     stream_of(x));
  }

  void layer_norm_backward(const LayerNormGradient& gradient, const LayerParameters& norm) override {
    const at::Tensor& x = gradient.x;
    if (!cuda::has_layer_norm(x.size(1))) return aten_->layer_norm_backward(gradient, norm);
    const at::Tensor sums = partials_.take({cuda::layer_norm_blocks(x.size(0)), 3, x.size(1)}, x.options());
    cuda::layer_norm_backward(
        {read(x), read(gradient.statistics[0]), read(gradient.statistics[1]), read(norm.weight.value),
         read(norm.bias.value), read(gradient.du), written(gradient.dx), written(sums), x.size(0), x.size(1)},
        stream_of(x));
    cuda::Gradients gradients;
    cuda::add_norm_sums(sums, norm, gradients);
    cuda::add_gradients(gradients, stream_of(x));
  }

  void chebyshev_basis(const at::Tensor& u, const at::Tensor& basis) override {
    cuda::chebyshev_basis({read(u), written(basis), u.size(0), u.size(1), basis.size(1) / u.size(1)}, stream_of(u));
  }

  void chebyshev_backward(const at::Tensor& basis, const at::Tensor& dbasis, const at::Tensor& du) override {
    cuda::chebyshev_backward(
        {read(basis), read(dbasis), written(du), du.size(0), du.size(1), basis.size(1) / du.size(1)}, stream_of(du));
  }

  void pack_coefficients(const at::Tensor& coefficients, const at::Tensor& packed, const at::Tensor& bias) override {
    cuda::pack_coefficients({read(coefficients), written(packed), written(bias), coefficients.size(0),
                             coefficients.size(1), coefficients.size(2) - 1},
                            stream_of(coefficients));
  }

  void add_coefficient_gradient(const at::Tensor& dpacked, const at::Tensor& dbias,
                                const at::Tensor& gradient) override {
    cuda::add_coefficient_gradient(
        {read(dpacked), read(dbias), written(gradient), gradient.size(0), gradient.size(1), gradient.size(2) - 1},
        stream_of(gradient));
  }

  void attention(const at::Tensor& qkv, SequenceShape shape, HeadShape heads, const AttentionResult& result) override {
    if (!cuda::has_attention(shape.time, heads.head_dim))
      return cuda::long_attention(qkv, {shape, heads, product_type()}, result.context);
    cuda::attention({written(qkv), written(result.context), written(result.log_sums), nullptr, nullptr, shape.batch,
                     shape.time, heads.heads, heads.head_dim},
                    stream_of(qkv));
  }

  void attention_backward(const AttentionGradient& gradient, SequenceShape shape, HeadShape heads) override {
    if (!cuda::has_attention(shape.time, heads.head_dim))
      return cuda::long_attention_backward(gradient.qkv, {shape, heads, product_type()}, gradient.dcontext,
                                           gradient.dqkv);
    cuda::attention_backward(
        {written(gradient.qkv), written(gradient.result.context), written(gradient.result.log_sums),
         read(gradient.dcontext), written(gradient.dqkv), shape.batch, shape.time, heads.heads, heads.head_dim},
        stream_of(gradient.qkv));
  }

  void gelu(const at::Tensor& z, const at::Tensor& activation) override {
    cuda::gelu({read(z), written(activation), z.numel()}, stream_of(z));
  }

  void gelu_backward(const at::Tensor& z, const at::Tensor& gradient) override {
    cuda::gelu_backward({read(z), written(gradient), z.numel()}, stream_of(z));
  }

  void drop(const at::Tensor& values, const Dropout& dropout, const at::Tensor& out) override {
    cuda::drop({.values = read(values),
                .out = written(out),
                .count = values.numel(),
                .first = dropout.first_row * static_cast<std::uint64_t>(values.size(1)),
                .seed = dropout.seed,
                .step = static_cast<std::uint32_t>(dropout.step),
                .place = dropout.place + static_cast<std::uint32_t>(dropout.step >> 32 << 12),
                .kept = dropout.kept(),
                .scale = static_cast<float>(dropout.scale())},
               stream_of(values));
  }

  void add_column_sums(const at::Tensor& matrix, const at::Tensor& sums) override {
    const at::Tensor partials =
        partials_.take({cuda::column_sum_partials(matrix.size(0), matrix.size(1))}, matrix.options());
    cuda::add_column_sums({read(matrix), written(partials), written(sums), matrix.size(0), matrix.size(1)},
                          stream_of(matrix));
  }

  void embed(const at::Tensor& ids, const at::Tensor& token_embedding, const at::Tensor& position_embedding,
             const at::Tensor& x) override {
    cuda::embed({ids.const_data_ptr<std::int64_t>(), read(token_embedding), read(position_embedding), written(x),
                 x.size(0), x.size(1), position_embedding.size(0), token_embedding.size(0)},
                stream_of(x));
  }

  void embed_backward(const TokenRows& tokens, const at::Tensor& dx, const at::Tensor& token_gradient,
                      const at::Tensor& position_gradient) override {
    const std::int64_t rows = dx.size(0), channels = dx.size(1);
    const at::Tensor partials = partials_.take({cuda::embedding_gradient_partials(rows, channels)}, dx.options());
    cuda::add_embedding_gradient(
        {tokens.ids.const_data_ptr<std::int64_t>(), tokens.by_token.const_data_ptr<std::int64_t>(), read(dx),
         written(partials), written(token_gradient), rows, channels, token_gradient.size(0)},
        stream_of(dx));
    add_column_sums(dx.view({-1, position_gradient.numel()}), position_gradient.view({-1}));
  }

  LossSum head_loss(const at::Tensor& x, const at::Tensor& head, const LossTargets& targets) override {
    const at::Tensor sums = sweep(x, {head, {}}, targets, {}).to(at::kCPU);  // waits once
    return {sums.const_data_ptr<double>()[0], sums.const_data_ptr<double>()[1]};
  }

  QueuedLoss head_loss_and_gradient(const at::Tensor& x, const Parameter& head, const LossTargets& targets,
                                    const at::Tensor& dx) override {
    // To pinned memory, which LibTorch takes for a copy that nobody waits for. Always new: the next pass takes sums_
    // again.
    const at::Tensor loss = sweep(x, head, targets, dx)[0];
    return QueuedLoss(loss.to(at::TensorOptions(at::kCPU), /*non_blocking=*/true, /*copy=*/true));
  }

  std::unique_ptr<FusedResidual> make_kan_residual(const LayerParameters& norm,
                                                   const Parameter& coefficients) override {
    return cuda::make_kan_residual(norm, coefficients, residuals_);
  }
  std::unique_ptr<FusedResidual> make_attention_residual(const LayerParameters& norm,
                                                         const AttentionParameters& parameters,
                                                         HeadShape heads) override {
    return cuda::make_attention_residual(norm, parameters, heads, residuals_);
  }
  void take_weights() override { residuals_.take_weights(); }
  void finish_backward() override { residuals_.add_kept_gradients(); }

 private:
  // What all rows have in common.
  struct Head {
    at::Tensor weight;  // as products take it, [pitch, channels]
    std::int64_t vocabulary;
    at::Tensor gradient;  // [vocabulary, channels], or undefined
  };

  at::ScalarType product_type() const { return rounds_ ? at::kBFloat16 : at::kFloat; }

  // What a product takes of `a`.
  at::Tensor operand(const at::Tensor& a, Reserve& reserve) const { return rounds_ ? round(a, reserve) : a; }

  // In bfloat16, contiguous or transposed as `a` is; valid until the same reserve is taken again.
  static at::Tensor round(const at::Tensor& a, Reserve& reserve) {
    const bool transposed = !a.is_contiguous();
    const at::Tensor contiguous = transposed ? a.t() : a;
    const at::Tensor result = reserve.take(contiguous.sizes(), a.options().dtype(at::kBFloat16));
    cuda::round_to_bfloat16({read(contiguous), result.data_ptr(), a.numel()}, stream_of(a));
    return transposed ? result.t() : result;
  }

  // Rows behind the vocabulary are 0, so that their logits are numbers.
  at::Tensor padded(const at::Tensor& head) {
    const std::int64_t vocabulary = head.size(0);
    const std::int64_t pitch =
        (vocabulary + cuda::kClassifierPitch - 1) / cuda::kClassifierPitch * cuda::kClassifierPitch;
    const at::Tensor weight = head_.take({pitch, head.size(1)}, head.options().dtype(product_type()));
    if (pitch != vocabulary && weight.data_ptr() != padded_) weight.narrow(0, vocabulary, pitch - vocabulary).zero_();
    padded_ = weight.data_ptr();
    if (rounds_) {
      cuda::round_to_bfloat16({read(head), weight.data_ptr(), head.numel()}, stream_of(head));
    } else {
      weight.narrow(0, 0, vocabulary).copy_(head);
    }
    return weight;
  }

  std::int64_t loss_rows(std::int64_t pitch) const {
    const std::int64_t element_bytes = rounds_ ? 2 : 4;
    const std::int64_t rows = std::clamp<std::int64_t>(kLogitsBytes / (pitch * element_bytes), 4, kMostLossRows);
    return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(rows)));  // so that shapes stay few
  }

  // The sums of the losses and of the mask, [2] fp64; the gradients where `dx` is defined.
  at::Tensor sweep(const at::Tensor& x, const Parameter& head, const LossTargets& targets, const at::Tensor& dx) {
    const Head common = {padded(head.value), head.value.size(0), head.gradient};
    const at::Tensor losses = losses_.take({x.size(0)}, x.options());
    const at::Tensor rows_for_products = operand(x, left_);
    const std::int64_t most_rows = loss_rows(common.weight.size(0));
    for (std::int64_t begin = 0; begin < x.size(0); begin += most_rows) {
      const std::int64_t rows = std::min(most_rows, x.size(0) - begin);
      const LossTargets some = {targets.ids.narrow(0, begin, rows), targets.mask.narrow(0, begin, rows)};
      sweep_rows(rows_for_products.narrow(0, begin, rows), common, some,
                 {losses.narrow(0, begin, rows), dx.defined() ? dx.narrow(0, begin, rows) : dx});
    }
    const at::Tensor sums = sums_.take({2}, x.options().dtype(at::kDouble));
    cuda::sum_both({read(losses), read(targets.mask), sums.mutable_data_ptr<double>(), x.size(0)}, stream_of(x));
    return sums;
  }

  struct RowResults {
    at::Tensor losses;
    at::Tensor dx;  // or undefined
  };

  // x: as products take it.
  void sweep_rows(const at::Tensor& x, const Head& head, const LossTargets& targets, const RowResults& results) {
    const std::int64_t pitch = head.weight.size(0);
    const at::Tensor logits = logits_.take({x.size(0), pitch}, x.options());
    cuda::multiply(x, head.weight.t(), logits);
    cuda::classify({logits.data_ptr(), targets.ids.const_data_ptr<std::int64_t>(), read(targets.mask),
                    written(results.losses), x.size(0), head.vocabulary, pitch, rounds_, results.dx.defined()},
                   stream_of(x));
    if (!results.dx.defined()) return;
    cuda::multiply(logits, head.weight, results.dx);
    cuda::multiply(logits.narrow(1, 0, head.vocabulary).t(), x, head.gradient, Before::kAddedTo);
  }

  bool rounds_;
  const void* padded_ = nullptr;  // the head whose rows behind the vocabulary are 0
  std::unique_ptr<Operations> aten_;
  cuda::ResidualMemory residuals_;
  Reserve left_, right_, head_, logits_, losses_, sums_, partials_;
};

}  // namespace

void use_cuda_operations() {
  cuda_makers() = {&make_cuda_operations, &make_cuda_activations, &make_cuda_flat_operations};
}

std::unique_ptr<Operations> make_cuda_operations(config::Precision precision) {
  return std::make_unique<CudaOperations>(precision);
}

}  // namespace kangpt::operations
