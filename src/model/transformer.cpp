#include "model/transformer.hpp"

#include <chrono>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "model/pass_inputs.hpp"
#include "model/sublayers/feed_forwards.hpp"
#include "model/sublayers/mixers.hpp"
#include "model/sublayers/residual_block.hpp"
#include "operations/parameter_views.hpp"

namespace kangpt::model {
namespace {

using Slot = Scratch::Slot;

double sum_of(const at::Tensor& mask) {
  const at::Tensor values = mask.contiguous();
  const float* const begin = values.const_data_ptr<float>();
  return std::accumulate(begin, begin + values.numel(), 0.0);
}

// Adds the seconds since its last lap to one part or the other.
class LapTimer {
 public:
  void lap(double& part) {
    const auto now = std::chrono::steady_clock::now();
    part += std::chrono::duration<double>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Activations of one pass over blocks that take turns, a mixer and a feed-forward part a layer: the residual stream
// before each block and behind the last, and what each block and the final norm keep.
class Activations {
 public:
  // kAll: for a backward pass. kLayerInputs: the same, where layers are computed again; they share what lies inside
  // one. kNone: one stream and one Kept, which every block overwrites.
  enum class Keeping { kAll, kLayerInputs, kNone };

  Activations(Keeping keeping, std::size_t blocks)
      : keeping_(keeping),
        blocks_(blocks),
        streams_(keeping == Keeping::kAll           ? blocks + 1
                 : keeping == Keeping::kLayerInputs ? blocks / 2 + 2
                                                    : 1),
        kept_(keeping == Keeping::kAll           ? blocks + 1
              : keeping == Keeping::kLayerInputs ? 3
                                                 : 1) {}

  void begin(std::int64_t channels, const at::TensorOptions& options) {
    for (at::Tensor& stream : streams_) reuse(stream, {shape.rows(), channels}, options);
    for (Kept& kept : kept_) kept.shape = shape;
  }
  // [rows, channels], index <= blocks.
  const at::Tensor& stream(std::size_t index) const {
    if (keeping_ == Keeping::kLayerInputs) return index % 2 == 0 ? streams_[index / 2] : streams_.back();
    return streams_[keeping_ == Keeping::kAll ? index : 0];
  }
  Kept& kept(std::size_t index) {
    if (keeping_ == Keeping::kLayerInputs) return kept_[index == blocks_ ? 2 : index % 2];
    return kept_[keeping_ == Keeping::kAll ? index : 0];
  }
  // Whether what block `index` reads and keeps has been overwritten by the layers behind it.
  bool is_lost(std::size_t index) const { return keeping_ == Keeping::kLayerInputs && index + 2 < blocks_; }

  SequenceShape shape;
  operations::Dropout dropout;  // of the embedding

 private:
  Keeping keeping_;
  std::size_t blocks_;
  std::vector<at::Tensor> streams_;
  std::vector<Kept> kept_;
};

// Where a pass over one sequence is to be remembered: as text `text` of each block's past.
struct RememberedText {
  const std::vector<Past>& blocks;
  std::int64_t text;
};

}  // namespace

struct Transformer::Impl {
  Impl(const config::ModelConfig& config, const ParameterViews& views, operations::Kernels kernels);

  SequenceShape check(const at::Tensor& inputs) const;
  operations::LossTargets check_targets(const at::Tensor& targets, const at::Tensor& mask, SequenceShape shape) const;
  // Checks them all, and brings them to the device.
  PassInputs take(const at::Tensor& tokens, const at::Tensor& targets, const at::Tensor& mask,
                  Activations& activations) const;
  at::Tensor positions(const at::Tensor& table, SequenceShape shape) const { return table.narrow(0, 0, shape.time); }
  // Fills activations; returns the head's input [rows, channels], which the next pass overwrites.
  at::Tensor trunk(const at::Tensor& inputs, Activations& activations, const RememberedText* remembered = nullptr);
  // What the layer's blocks, the one at `index` and the one behind it, read and keep in the training pass.
  void recompute_layer(std::size_t index);
  // Of a pass over `time` positions, at the embedding.
  operations::Dropout dropout_at(const PassPosition& position, std::int64_t time) const;
  // The head's input: x, or its norm, which the next pass overwrites.
  at::Tensor normalised(const at::Tensor& x, Kept& kept);
  // x [rows, channels], head [channels, vocabulary] -> [rows, vocabulary]
  at::Tensor head_logits(const at::Tensor& x, const at::Tensor& head_product) const;
  // Blocks take turns: a mixer, a feed-forward part.
  double& seconds_of_block(std::size_t index) { return index % 2 == 0 ? seconds.mixer : seconds.feed_forward; }
  // The head's input at all positions, [batch, time, channels].
  at::Tensor hidden(const at::Tensor& tokens, const RememberedText* remembered = nullptr);

  at::TensorOptions options;
  bool uploads;  // what is read has to be brought to the device
  double dropout_probability;
  std::unique_ptr<Operations> operations;
  std::unique_ptr<Convolutions> convolutions;
  std::unique_ptr<operations::Activations> nonlinearities;
  Scratch scratch;
  Parameter token_embedding;
  Parameter position_embedding;
  Parameter head;
  std::vector<ResidualBlock> blocks;
  bool has_final_norm;
  LayerParameters final_norm;
  Activations training;
  Activations inference;
  operations::TokenRows pass_tokens;  // of the last forward()
  at::Tensor stream_gradient;         // [rows, channels]
  bool backward_due = false;
  PartSeconds seconds;
};

Transformer::Impl::Impl(const config::ModelConfig& config, const ParameterViews& views, operations::Kernels kernels)
    : options(views.flat_parameters().options()),
      uploads(kernels != operations::Kernels::kCpu),
      dropout_probability(config.dropout),
      operations(operations::make_operations(kernels, config.precision)),
      convolutions(operations::make_convolutions(kernels)),
      nonlinearities(operations::make_activations(kernels)),
      scratch(options),
      token_embedding(views.parameter("token_embedding.weight")),
      position_embedding(views.parameter("position_embedding.weight")),
      head(views.parameter("head.weight")),
      has_final_norm(config.final_norm),
      training(config.recompute == config::Recompute::kLayers ? Activations::Keeping::kLayerInputs
                                                              : Activations::Keeping::kAll,
               2 * static_cast<std::size_t>(config.layers)),
      inference(Activations::Keeping::kNone, 2 * static_cast<std::size_t>(config.layers)) {
  const SublayerTools tools = {*operations, scratch};
  const MixerFactory mixers(config, views, tools, *convolutions);
  const FeedForwardFactory feed_forwards(config, views, tools, *nonlinearities);
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    blocks.emplace_back(views.layer(prefix + "mixer_norm"), mixers.make(layer), tools);
    blocks.emplace_back(views.layer(prefix + "feed_forward_norm"), feed_forwards.make(layer), tools);
  }
  if (has_final_norm) final_norm = views.layer("final_norm");
}

SequenceShape Transformer::Impl::check(const at::Tensor& tokens) const {
  const std::int64_t window = position_embedding.value.size(0);
  if (tokens.dim() != 2 || tokens.scalar_type() != at::kLong || tokens.size(1) > window) {
    throw InternalError("model: inputs must be int64 [batch, time] with time <= " + std::to_string(window));
  }
  check_ids(tokens, token_embedding.value.size(0), "inputs");
  return {tokens.size(0), tokens.size(1)};
}

operations::LossTargets Transformer::Impl::check_targets(const at::Tensor& targets, const at::Tensor& mask,
                                                         SequenceShape shape) const {
  const bool same_shape = targets.numel() == shape.rows() && mask.numel() == shape.rows();
  if (!same_shape || targets.scalar_type() != at::kLong || mask.scalar_type() != at::kFloat) {
    throw InternalError("model: targets (int64) and mask (fp32) must have the shape of the inputs");
  }
  check_ids(targets, head.value.size(0), "targets");
  return {targets.reshape({-1}).contiguous(), mask.reshape({-1}).contiguous()};
}

PassInputs Transformer::Impl::take(const at::Tensor& tokens, const at::Tensor& targets, const at::Tensor& mask,
                                   Activations& activations) const {
  activations.shape = check(tokens);
  const operations::LossTargets loss_targets = check_targets(targets, mask, activations.shape);
  const at::Tensor ids = tokens.reshape({-1}).contiguous();
  if (!uploads) return {{ids, {}}, loss_targets};
  return upload(ids, loss_targets, token_embedding.value.size(0), options.device());
}

at::Tensor Transformer::Impl::trunk(const at::Tensor& ids, Activations& activations, const RememberedText* remembered) {
  LapTimer timer;
  const std::int64_t channels = token_embedding.value.size(1);
  activations.begin(channels, options);
  operations->take_weights();
  operations->embed(ids, token_embedding.value, positions(position_embedding.value, activations.shape),
                    activations.stream(0));
  const operations::Dropout& dropout = activations.dropout;
  if (dropout.probability > 0) operations->drop(activations.stream(0), dropout, activations.stream(0));
  timer.lap(seconds.embedding);
  for (std::size_t index = 0; index < blocks.size(); ++index) {
    Kept& kept = activations.kept(index);
    kept.dropout = dropout.at(static_cast<std::uint32_t>(index + 1));
    blocks[index].forward(activations.stream(index), activations.stream(index + 1), kept);
    if (remembered != nullptr) blocks[index].remember(kept, remembered->blocks[index], remembered->text);
    timer.lap(seconds_of_block(index));
  }
  const at::Tensor u = normalised(activations.stream(blocks.size()), activations.kept(blocks.size()));
  timer.lap(seconds.head);
  return u;
}

void Transformer::Impl::recompute_layer(std::size_t index) {
  LapTimer timer;
  for (const std::size_t block : {index, index + 1}) {
    const at::Tensor& out = training.stream(block + 1);  // the next layer's input, which its backward pass has read
    Kept& kept = training.kept(block);
    kept.dropout = training.dropout.at(static_cast<std::uint32_t>(block + 1));
    block == index ? blocks[block].forward(training.stream(block), out, kept)
                   : blocks[block].keep_again(training.stream(block), out, kept);
    timer.lap(seconds_of_block(block));
  }
}

operations::Dropout Transformer::Impl::dropout_at(const PassPosition& position, std::int64_t time) const {
  return {.probability = dropout_probability,
          .seed = position.seed,
          .step = position.step,
          .first_row = position.first_sequence * static_cast<std::uint64_t>(time),
          .place = 0,
          .places = static_cast<std::uint32_t>(blocks.size() + 1)};
}

at::Tensor Transformer::Impl::normalised(const at::Tensor& x, Kept& kept) {
  if (!has_final_norm) return x;
  reuse(kept.statistics, {2, x.size(0)}, options);
  const at::Tensor& u = scratch.take(Slot::kNormalised, x.sizes());
  operations->layer_norm(x, final_norm, u, kept.statistics);
  return u;
}

at::Tensor Transformer::Impl::head_logits(const at::Tensor& x, const at::Tensor& head_product) const {
  const at::Tensor logits = at::empty({x.size(0), head_product.size(1)}, options);
  operations->multiply(x, head_product, logits);
  return logits;
}

at::Tensor Transformer::Impl::hidden(const at::Tensor& tokens, const RememberedText* remembered) {
  inference.shape = check(tokens);
  const at::Tensor x = trunk(tokens.reshape({-1}).to(options.device()), inference, remembered);
  return x.view({tokens.size(0), tokens.size(1), -1});
}

Transformer::Transformer(const config::ModelConfig& config, const base::ParameterTable& layout,
                         const FlatBuffers& buffers)
    : impl_(std::make_unique<Impl>(config, ParameterViews(layout, buffers.parameters, buffers.gradients),
                                   buffers.kernels)) {}

Transformer::~Transformer() = default;

TrainingLoss Transformer::forward(const at::Tensor& inputs, const at::Tensor& targets, const at::Tensor& mask,
                                  const PassPosition& position) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  if (!impl_->head.gradient.defined()) throw InternalError("model: forward() needs a gradient buffer");
  const PassInputs read = impl_->take(inputs, targets, mask, impl_->training);
  impl_->training.dropout = impl_->dropout_at(position, inputs.size(1));
  impl_->pass_tokens = read.tokens;
  const at::Tensor x = impl_->trunk(impl_->pass_tokens.ids, impl_->training);
  reuse(impl_->stream_gradient, x.sizes(), impl_->options);
  impl_->backward_due = true;
  LapTimer timer;
  operations::QueuedLoss loss =
      impl_->operations->head_loss_and_gradient(x, impl_->head, read.targets, impl_->stream_gradient);
  timer.lap(impl_->seconds.head);
  return {std::move(loss), sum_of(mask)};
}

void Transformer::backward() {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  if (!std::exchange(impl_->backward_due, false)) throw InternalError("model: backward() without forward()");
  LapTimer timer;
  Activations& activations = impl_->training;
  const std::size_t blocks = impl_->blocks.size();
  operations::StreamGradient stream = {impl_->stream_gradient};
  const at::Tensor& dx = stream.values;
  if (impl_->has_final_norm) {
    const at::Tensor& du = impl_->scratch.take(Slot::kNormalisedGradient, dx.sizes());
    du.copy_(dx);
    dx.zero_();
    impl_->operations->layer_norm_backward({activations.stream(blocks), activations.kept(blocks).statistics, du, dx},
                                           impl_->final_norm);
  }
  timer.lap(impl_->seconds.head);
  for (std::size_t index = blocks; index-- > 0;) {
    if (index % 2 == 1 && activations.is_lost(index - 1)) {
      impl_->recompute_layer(index - 1);
      timer = LapTimer();  // which has been counted
    }
    impl_->blocks[index].backward(activations.stream(index), stream, activations.kept(index));
    timer.lap(impl_->seconds_of_block(index));
  }
  impl_->operations->finish_backward();
  if (activations.dropout.probability > 0) impl_->operations->drop(dx, activations.dropout, dx);
  impl_->operations->embed_backward(impl_->pass_tokens, dx, impl_->token_embedding.gradient,
                                    impl_->positions(impl_->position_embedding.gradient, activations.shape));
  timer.lap(impl_->seconds.embedding);
}

operations::LossSum Transformer::loss(const at::Tensor& inputs, const at::Tensor& targets,
                                      const at::Tensor& mask) const {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  const PassInputs read = impl_->take(inputs, targets, mask, impl_->inference);
  const at::Tensor x = impl_->trunk(read.tokens.ids, impl_->inference);
  return impl_->operations->head_loss(x, impl_->head.value, read.targets);
}

at::Tensor Transformer::logits(const at::Tensor& inputs) const {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  return impl_->hidden(inputs).matmul(impl_->head.value.t());
}

Transformer::TextsPast Transformer::make_past(std::int64_t texts, std::int64_t window) const {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  if (window > impl_->position_embedding.value.size(0)) throw InternalError("model: a past of too many positions");
  TextsPast past{{}, impl_->head.value.t().contiguous()};
  for (const ResidualBlock& block : impl_->blocks) past.blocks.push_back(block.make_past(texts, window));
  return past;
}

at::Tensor Transformer::next_logits(const at::Tensor& inputs, const TextsPast& past) const {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  return impl_->head_logits(impl_->hidden(inputs).select(1, -1).contiguous(), past.head);
}

at::Tensor Transformer::begin_text(const at::Tensor& inputs, std::int64_t text, TextsPast& past) const {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  const RememberedText remembered = {past.blocks, text};
  return impl_->head_logits(impl_->hidden(inputs, &remembered).select(1, -1).contiguous(), past.head);
}

at::Tensor Transformer::grow(const at::Tensor& tokens, const NewRows& rows, TextsPast& past) const {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_ids(tokens, impl_->token_embedding.value.size(0), "tokens");
  const at::Tensor ids = tokens.to(impl_->options.device());
  const at::Tensor x = impl_->token_embedding.value.index_select(0, ids).add_(
      impl_->position_embedding.value.index_select(0, rows.position_ids));
  for (std::size_t index = 0; index < impl_->blocks.size(); ++index)
    impl_->blocks[index].step(x, rows, past.blocks[index]);
  return impl_->head_logits(impl_->normalised(x, impl_->inference.kept(impl_->blocks.size())), past.head);
}

at::Device Transformer::device() const noexcept {
  return impl_->options.device();
}

const PartSeconds& Transformer::part_seconds() const noexcept {
  return impl_->seconds;
}

}  // namespace kangpt::model
