#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "operations/aten/dropout_masks.hpp"
#include "operations/operations.hpp"

namespace kangpt::operations {
namespace {

constexpr std::int64_t kLossRows = 1024;              // rows whose logits exist at once, at most
constexpr std::int64_t kLossElements = 1024 * 65536;  // logits that exist at once: 256 MB

// A power of two, so that the shapes of products stay few.
std::int64_t loss_rows(std::int64_t vocabulary) {
  const auto rows = static_cast<std::uint64_t>(std::clamp<std::int64_t>(kLossElements / vocabulary, 1, kLossRows));
  return static_cast<std::int64_t>(std::bit_floor(rows));
}

// Where each element is written once, any order gives the same; the deterministic way of LibTorch would sort on a GPU.
class AnyOrder {
 public:
  AnyOrder() { at::globalContext().setDeterministicAlgorithms(false, false); }
  ~AnyOrder() { at::globalContext().setDeterministicAlgorithms(was_deterministic_, false); }
  AnyOrder(const AnyOrder&) = delete;
  AnyOrder& operator=(const AnyOrder&) = delete;

 private:
  bool was_deterministic_ = at::globalContext().deterministicAlgorithms();
};

// [rows, features] of column block `part` of qkv -> [batch, heads, time, head_dim]
at::Tensor split_heads(const at::Tensor& qkv, std::int64_t part, SequenceShape shape, HeadShape heads) {
  return qkv.narrow(1, part * heads.features(), heads.features())
      .view({shape.batch, shape.time, heads.heads, heads.head_dim})
      .transpose(1, 2);
}

at::Tensor as_heads(const at::Tensor& features, SequenceShape shape, HeadShape heads) {
  return features.view({shape.batch, shape.time, heads.heads, heads.head_dim}).transpose(1, 2);
}

at::Tensor causal_softmax(const at::Tensor& query, const at::Tensor& key, HeadShape heads) {
  const at::Tensor scores = query.matmul(key.transpose(2, 3)) / std::sqrt(static_cast<double>(heads.head_dim));
  const at::Tensor future = at::ones({query.size(2), query.size(2)}, query.options().dtype(at::kBool)).triu(1);
  return at::softmax(scores.masked_fill(future, -std::numeric_limits<double>::infinity()), 3);
}

// a b with both rounded to bfloat16, summed in fp32. LibTorch has this product on GPUs alone; elsewhere the rounded
// operands are widened again, which gives the same up to the order of the sums.
at::Tensor rounded_product(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor left = a.to(at::kBFloat16);
  const at::Tensor right = b.to(at::kBFloat16);
  return a.is_cuda() ? at::mm(left, right, at::kFloat) : left.to(at::kFloat).mm(right.to(at::kFloat));
}

class AtenOperations : public Operations {
 public:
  explicit AtenOperations(config::Precision precision) : rounds_(precision == config::Precision::kBf16) {}

  void multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) override {
    at::Tensor out = c;
    if (rounds(c)) {
      out.copy_(rounded_product(a, b));
    } else {
      at::mm_out(out, a, b);
    }
  }
  void multiply_add(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) override {
    if (rounds(c)) {
      at::Tensor(c).add_(rounded_product(a, b));
    } else {
      at::Tensor(c).addmm_(a, b);
    }
  }

  void layer_norm(const at::Tensor& x, const LayerParameters& norm, const at::Tensor& u,
                  const at::Tensor& statistics) override {
    const auto [value, mean, deviation] =
        at::native_layer_norm(x, {x.size(1)}, norm.weight.value, norm.bias.value, kLayerNormEpsilon);
    u.copy_(value);
    statistics[0].copy_(mean.view(-1));
    statistics[1].copy_(deviation.view(-1));
  }

  void layer_norm_backward(const LayerNormGradient& gradient, const LayerParameters& norm) override {
    const at::Tensor mean = gradient.statistics[0].unsqueeze(1);
    const at::Tensor deviation = gradient.statistics[1].unsqueeze(1);
    const auto [dx, dweight, dbias] =
        at::native_layer_norm_backward(gradient.du, gradient.x, {gradient.x.size(1)}, mean, deviation,
                                       norm.weight.value, norm.bias.value, {true, true, true});
    gradient.dx.add_(dx);
    norm.weight.gradient.add_(dweight);
    norm.bias.gradient.add_(dbias);
  }

  void chebyshev_basis(const at::Tensor& u, const at::Tensor& basis) override {
    const std::int64_t channels = u.size(1);
    const std::int64_t degree = basis.size(1) / channels;
    const at::Tensor t = at::tanh(u);
    at::Tensor previous = at::ones_like(t);
    at::Tensor current = t;
    for (std::int64_t d = 1; d <= degree; ++d) {
      basis.narrow(1, (d - 1) * channels, channels).copy_(current);
      at::Tensor next = 2 * t * current - previous;
      previous = std::move(current);
      current = std::move(next);
    }
  }

  void chebyshev_backward(const at::Tensor& basis, const at::Tensor& dbasis, const at::Tensor& du) override {
    const std::int64_t channels = du.size(1);
    const std::int64_t degree = basis.size(1) / channels;
    const at::Tensor t = basis.narrow(1, 0, channels);
    at::Tensor previous = at::ones_like(t);
    du.zero_();
    for (std::int64_t d = 1; d <= degree; ++d) {
      const at::Tensor current = basis.narrow(1, (d - 1) * channels, channels);
      const at::Tensor q = static_cast<double>(d) * (previous - t * current);
      du.addcmul_(dbasis.narrow(1, (d - 1) * channels, channels), q);
      previous = current;
    }
  }

  void pack_coefficients(const at::Tensor& coefficients, const at::Tensor& packed, const at::Tensor& bias) override {
    const std::int64_t inputs = coefficients.size(0);
    const std::int64_t outputs = coefficients.size(1);
    const std::int64_t degree = coefficients.size(2) - 1;
    packed.view({degree, inputs, outputs}).copy_(coefficients.narrow(2, 1, degree).permute({2, 0, 1}));
    at::Tensor sum = bias;
    at::sum_out(sum, coefficients.select(2, 0), at::IntArrayRef{0});
  }

  void add_coefficient_gradient(const at::Tensor& dpacked, const at::Tensor& dbias,
                                const at::Tensor& gradient) override {
    const std::int64_t degree = gradient.size(2) - 1;
    const at::Tensor by_output = dpacked.view({gradient.size(1), degree, gradient.size(0)});
    gradient.narrow(2, 1, degree).add_(by_output.permute({2, 0, 1}));
    gradient.select(2, 0).add_(dbias);
  }

  void attention(const at::Tensor& qkv, SequenceShape shape, HeadShape heads, const AttentionResult& result) override {
    const at::Tensor query = split_heads(qkv, 0, shape, heads);
    const at::Tensor key = split_heads(qkv, 1, shape, heads);
    const at::Tensor value = split_heads(qkv, 2, shape, heads);
    as_heads(result.context, shape, heads).copy_(causal_softmax(query, key, heads).matmul(value));
  }

  void attention_backward(const AttentionGradient& gradient, SequenceShape shape, HeadShape heads) override {
    const at::Tensor query = split_heads(gradient.qkv, 0, shape, heads);
    const at::Tensor key = split_heads(gradient.qkv, 1, shape, heads);
    const at::Tensor value = split_heads(gradient.qkv, 2, shape, heads);
    const at::Tensor dcontext = as_heads(gradient.dcontext, shape, heads);
    const at::Tensor weights = causal_softmax(query, key, heads);
    const at::Tensor dweights = dcontext.matmul(value.transpose(2, 3));
    const at::Tensor mean = (weights * dweights).sum(3, true);
    const at::Tensor dscores = weights * (dweights - mean) / std::sqrt(static_cast<double>(heads.head_dim));
    split_heads(gradient.dqkv, 0, shape, heads).copy_(dscores.matmul(key));
    split_heads(gradient.dqkv, 1, shape, heads).copy_(dscores.transpose(2, 3).matmul(query));
    split_heads(gradient.dqkv, 2, shape, heads).copy_(weights.transpose(2, 3).matmul(dcontext));
  }

  void gelu(const at::Tensor& z, const at::Tensor& activation) override {
    at::Tensor out = activation;
    at::gelu_out(out, z, "tanh");
  }

  void gelu_backward(const at::Tensor& z, const at::Tensor& gradient) override {
    gradient.copy_(at::gelu_backward(gradient, z, "tanh"));
  }

  void drop(const at::Tensor& values, const Dropout& dropout, const at::Tensor& out) override {
    at::Tensor result = out;
    at::mul_out(result, values, at::scalar_tensor(dropout.scale(), values.options().device(at::kCPU)));
    result.masked_fill_(dropout_masks_.left_out(values, dropout), 0);
  }

  void add_column_sums(const at::Tensor& matrix, const at::Tensor& sums) override { sums.add_(matrix.sum(0)); }

  void embed(const at::Tensor& ids, const at::Tensor& token_embedding, const at::Tensor& position_embedding,
             const at::Tensor& x) override {
    const std::int64_t time = position_embedding.size(0);
    x.view({-1, time, x.size(1)})
        .copy_(token_embedding.index_select(0, ids).view({-1, time, x.size(1)}) + position_embedding);
  }

  void embed_backward(const TokenRows& tokens, const at::Tensor& dx, const at::Tensor& token_gradient,
                      const at::Tensor& position_gradient) override {
    // embedding_dense_backward sorts the ids on a GPU: a fixed order, unlike index_add_.
    token_gradient.add_(at::embedding_dense_backward(dx, tokens.ids, token_gradient.size(0), -1, false));
    position_gradient.add_(dx.view({-1, position_gradient.size(0), dx.size(1)}).sum(0));
  }

  LossSum head_loss(const at::Tensor& x, const at::Tensor& head, const LossTargets& targets) override {
    const at::Tensor loss = sweep(x, {head, {}}, targets, {});
    const at::Tensor sums = at::stack({loss, targets.mask.sum(at::kDouble)}).to(at::kCPU);  // waits once
    return {sums.const_data_ptr<double>()[0], sums.const_data_ptr<double>()[1]};
  }

  QueuedLoss head_loss_and_gradient(const at::Tensor& x, const Parameter& head, const LossTargets& targets,
                                    const at::Tensor& dx) override {
    // To pinned memory, which LibTorch takes for a copy that nobody waits for.
    return QueuedLoss(sweep(x, head, targets, dx).to(at::kCPU, at::kDouble, /*non_blocking=*/true));
  }

 private:
  bool rounds(const at::Tensor& result) const { return rounds_ && result.scalar_type() == at::kFloat; }

  at::Tensor product(const at::Tensor& a, const at::Tensor& b) const {
    return rounds(a) ? rounded_product(a, b) : a.mm(b);
  }

  // The loss, [] fp64; the gradients where `dx` is defined.
  at::Tensor sweep(const at::Tensor& x, const Parameter& head, const LossTargets& targets, const at::Tensor& dx) {
    at::Tensor loss = at::zeros({}, x.options().dtype(at::kDouble));
    const std::int64_t most_rows = loss_rows(head.value.size(0));
    for (std::int64_t begin = 0; begin < x.size(0); begin += most_rows) {
      const std::int64_t rows = std::min(most_rows, x.size(0) - begin);
      const LossTargets some = {targets.ids.narrow(0, begin, rows), targets.mask.narrow(0, begin, rows)};
      const at::Tensor dx_rows = dx.defined() ? dx.narrow(0, begin, rows) : dx;
      loss += sweep_rows(x.narrow(0, begin, rows), head, some, dx_rows);
    }
    return loss;
  }

  at::Tensor sweep_rows(const at::Tensor& x, const Parameter& head, const LossTargets& targets, const at::Tensor& dx) {
    const at::Tensor ids = targets.ids.unsqueeze(1);
    const at::Tensor mask = targets.mask.to(x.scalar_type()).unsqueeze(1);
    at::Tensor logits = product(x, head.value.t());
    const at::Tensor log_sum = at::logsumexp(logits, {1}, true);
    const at::Tensor log_probability = logits.gather(1, ids) - log_sum;
    const at::Tensor loss = -(log_probability * mask).sum(at::kDouble);
    if (!dx.defined()) return loss;
    logits.sub_(log_sum).exp_();  // probabilities
    {
      const AnyOrder a_row_each;
      logits.scatter_(1, ids, at::expm1(log_probability));  // p - 1 without cancellation
    }
    logits.mul_(mask);
    multiply(logits, head.value, dx);
    multiply_add(logits.t(), x, head.gradient);
    return loss;
  }

  bool rounds_;
  DropoutMasks dropout_masks_;
};

}  // namespace

std::unique_ptr<Operations> make_aten_operations(config::Precision precision) {
  return std::make_unique<AtenOperations>(precision);
}

}  // namespace kangpt::operations
