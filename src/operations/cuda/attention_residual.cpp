#include "operations/cuda/products.hpp"
#include "operations/cuda/residuals.hpp"
#include "operations/operations.hpp"
#include "operations/scratch.hpp"

namespace kangpt::operations::cuda {
namespace {

// As model::Attention, whose `remember()` reads queries, keys and values in `first` too. Keeps u and the context as
// products take them, in `fourth` and `second`.
class AttentionResidual final : public FusedResidual {
 public:
  AttentionResidual(LayerParameters norm, AttentionParameters parameters, HeadShape heads, ResidualMemory& memory)
      : norm_(std::move(norm)),
        parameters_(std::move(parameters)),
        heads_(heads),
        memory_(memory),
        projections_(memory.add_matrices(
            {parameters_.query.weight.value, parameters_.key.weight.value, parameters_.value.weight.value})),
        output_(memory.add_matrices({parameters_.output.weight.value})) {}

  bool fits(SequenceShape shape) const override { return has_attention(shape.time, heads_.head_dim); }

  void forward(const at::Tensor& x, const at::Tensor& out, SequenceShape shape, KeptTensors& kept) override {
    const at::TensorOptions for_products = x.options().dtype(memory_.product_type());
    reuse(kept.statistics, {2, x.size(0)}, x.options());
    reuse(kept.first, {x.size(0), 3 * heads_.features()}, x.options());
    reuse(kept.second, {x.size(0), heads_.features()}, for_products);
    reuse(kept.third, {shape.batch, heads_.heads, shape.time}, x.options());
    reuse(kept.fourth, x.sizes(), for_products);
    layer_norm({.x = read(x),
                .weight = read(norm_.weight.value),
                .bias = read(norm_.bias.value),
                .u = kept.fourth.data_ptr(),
                .mean = written(kept.statistics[0]),
                .deviation = written(kept.statistics[1]),
                .rows = x.size(0),
                .channels = x.size(1),
                .epsilon = static_cast<float>(kLayerNormEpsilon),
                .type = memory_.type(),
                .out = written(out),
                .out_bias = read(parameters_.output.bias.value)},
               stream_of(x));
    multiply(kept.fourth, memory_.weight(projections_).t(), kept.first);
    Attention a = attention_of(shape, kept);
    const LayerParameters* const projections[] = {&parameters_.query, &parameters_.key, &parameters_.value};
    for (int part = 0; part < 3; ++part) a.biases[part] = read(projections[part]->bias.value);
    attention(a, stream_of(x));
    multiply(kept.second, memory_.weight(output_).t(), out, Before::kAddedTo);
  }

  void backward(const at::Tensor& x, StreamGradient& dx, SequenceShape shape, const KeptTensors& kept) override {
    const at::Tensor& dy = memory_.copy_of(dx);
    const at::Tensor dcontext = memory_.feature_gradient.take(kept.second.sizes(), x.options());
    const at::Tensor dqkv = memory_.wide.take(kept.first.sizes(), kept.second.options());
    const at::Tensor du = memory_.wide_gradient.take(x.sizes(), kept.second.options());
    const at::Tensor dweight = memory_.weight_gradient.take({3 * heads_.features(), x.size(1)}, x.options());
    const at::Tensor dbias = memory_.attention_sums.take({shape.batch, 3 * heads_.features()}, x.options());
    multiply(dy, memory_.weight(output_), dcontext);
    multiply(dy.t(), kept.second, parameters_.output.weight.gradient, Before::kAddedTo);
    Attention a = attention_of(shape, kept);
    a.dcontext = read(dcontext);
    a.dqkv = dqkv.data_ptr();
    a.partials = written(dbias);
    attention_backward(a, stream_of(x));
    multiply(dqkv.t(), kept.fourth, dweight);
    multiply(dqkv, memory_.weight(projections_), du);
    Gradients gradients;
    gradients.add(memory_.sums_of_copy(parameters_.output.bias.gradient));
    add_projections(dweight, dbias, gradients);
    memory_.finish_gradient({x, kept.statistics, du}, dx, norm_, gradients);
    memory_.add_gradients(gradients);
  }

 private:
  Attention attention_of(SequenceShape shape, const KeptTensors& kept) const {
    return {.qkv = written(kept.first),
            .context = kept.second.data_ptr(),
            .log_sums = written(kept.third),
            .dcontext = nullptr,
            .dqkv = nullptr,
            .batch = shape.batch,
            .time = shape.time,
            .heads = heads_.heads,
            .head_dim = heads_.head_dim,
            .type = memory_.type()};
  }

  // dweight [3 * features, channels]; dbias [sequences, 3 * features].
  void add_projections(const at::Tensor& dweight, const at::Tensor& dbias, Gradients& gradients) const {
    const std::int64_t features = heads_.features(), size = features * dweight.size(1);
    std::int64_t part = 0;
    for (const LayerParameters* projection : {&parameters_.query, &parameters_.key, &parameters_.value}) {
      gradients.add({.kind = GradientPart::kAdd,
                     .from = read(dweight) + part * size,
                     .to = written(projection->weight.gradient),
                     .columns = size});
      gradients.add({.kind = GradientPart::kSums,
                     .from = read(dbias) + part * features,
                     .to = written(projection->bias.gradient),
                     .columns = features,
                     .rows = dbias.size(0),
                     .pitch = 3 * features});
      ++part;
    }
  }

  LayerParameters norm_;
  AttentionParameters parameters_;
  HeadShape heads_;
  ResidualMemory& memory_;
  int projections_;
  int output_;
};

}  // namespace

std::unique_ptr<FusedResidual> make_attention_residual(const LayerParameters& norm,
                                                       const AttentionParameters& parameters, HeadShape heads,
                                                       ResidualMemory& memory) {
  if (!has_layer_norm(norm.weight.value.size(0))) return nullptr;
  return std::make_unique<AttentionResidual>(norm, parameters, heads, memory);
}

}  // namespace kangpt::operations::cuda
