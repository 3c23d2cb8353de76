#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "operations/cpu/dropout_kernel.hpp"
#include "operations/cpu/head_loss.hpp"
#include "operations/cpu/kernels.hpp"
#include "operations/cpu/matmul.hpp"
#include "operations/cpu/tensor_data.hpp"
#include "operations/cpu/tiled_attention.hpp"
#include "operations/operations.hpp"
#include "operations/scratch.hpp"

namespace kangpt::operations {
namespace {

using cpu::data;
using cpu::mutable_data;

class CpuOperations : public Operations {
 public:
  explicit CpuOperations(config::Precision precision) : product_(precision), head_loss_(precision) {}

  void multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) override {
    product_.multiply(a, b, c, cpu::Accumulate::kNo);
  }
  void multiply_add(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) override {
    product_.multiply(a, b, c, cpu::Accumulate::kYes);
  }

  void layer_norm(const at::Tensor& x, const LayerParameters& norm, const at::Tensor& u,
                  const at::Tensor& statistics) override {
    const std::int64_t channels = x.size(1);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "layer_norm", [&] {
      at::parallel_for(0, x.size(0), kGrainRows, [&](std::int64_t begin, std::int64_t end) {
        scalar_t* mean = mutable_data<scalar_t>(statistics) + begin;
        cpu::layer_norm(cpu::LayerNorm<scalar_t>{
            data<scalar_t>(x) + begin * channels, data<scalar_t>(norm.weight.value), data<scalar_t>(norm.bias.value),
            mutable_data<scalar_t>(u) + begin * channels, mean, mean + x.size(0), end - begin, channels});
      });
    });
  }

  void layer_norm_backward(const LayerNormGradient& gradient, const LayerParameters& norm) override {
    const std::int64_t rows = gradient.x.size(0);
    const std::int64_t channels = gradient.x.size(1);
    const std::int64_t threads = at::get_num_threads();
    reuse(shares_, {threads, 2, channels}, gradient.x.options());
    shares_.zero_();
    AT_DISPATCH_FLOATING_TYPES(gradient.x.scalar_type(), "layer_norm_backward", [&] {
      at::parallel_for(0, rows, kGrainRows, [&](std::int64_t begin, std::int64_t end) {
        const scalar_t* mean = data<scalar_t>(gradient.statistics) + begin;
        scalar_t* share = mutable_data<scalar_t>(shares_) + at::get_thread_num() * 2 * channels;
        cpu::layer_norm_backward(cpu::LayerNormBackward<scalar_t>{
            data<scalar_t>(gradient.x) + begin * channels, mean, mean + rows, data<scalar_t>(norm.weight.value),
            data<scalar_t>(gradient.du) + begin * channels, mutable_data<scalar_t>(gradient.dx) + begin * channels,
            share, share + channels, end - begin, channels});
      });
      const scalar_t* share = data<scalar_t>(shares_);
      cpu::add_column_sums(cpu::ColumnSums<scalar_t>{share, mutable_data<scalar_t>(norm.weight.gradient), threads,
                                                     channels, 2 * channels});
      cpu::add_column_sums(cpu::ColumnSums<scalar_t>{share + channels, mutable_data<scalar_t>(norm.bias.gradient),
                                                     threads, channels, 2 * channels});
    });
  }

  void chebyshev_basis(const at::Tensor& u, const at::Tensor& basis) override {
    AT_DISPATCH_FLOATING_TYPES(u.scalar_type(), "chebyshev_basis", [&] {
      at::parallel_for(0, u.size(0), kGrainRows, [&](std::int64_t begin, std::int64_t end) {
        cpu::chebyshev_basis(cpu::Chebyshev<scalar_t>{data<scalar_t>(u) + begin * u.size(1),
                                                      mutable_data<scalar_t>(basis) + begin * basis.size(1),
                                                      end - begin, u.size(1), basis.size(1) / u.size(1)});
      });
    });
  }

  void chebyshev_backward(const at::Tensor& basis, const at::Tensor& dbasis, const at::Tensor& du) override {
    AT_DISPATCH_FLOATING_TYPES(du.scalar_type(), "chebyshev_backward", [&] {
      at::parallel_for(0, du.size(0), kGrainRows, [&](std::int64_t begin, std::int64_t end) {
        cpu::chebyshev_backward(cpu::ChebyshevBackward<scalar_t>{
            data<scalar_t>(basis) + begin * basis.size(1), data<scalar_t>(dbasis) + begin * basis.size(1),
            mutable_data<scalar_t>(du) + begin * du.size(1), end - begin, du.size(1), basis.size(1) / du.size(1)});
      });
    });
  }

  void pack_coefficients(const at::Tensor& coefficients, const at::Tensor& packed, const at::Tensor& bias) override {
    const std::int64_t inputs = coefficients.size(0);
    const std::int64_t outputs = coefficients.size(1);
    const std::int64_t terms = coefficients.size(2);
    AT_DISPATCH_FLOATING_TYPES(packed.scalar_type(), "pack_coefficients", [&] {
      const scalar_t* source = data<scalar_t>(coefficients);
      scalar_t* target = mutable_data<scalar_t>(packed);
      at::parallel_for(0, inputs, grain_of(outputs * terms), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t input = begin; input < end; ++input) {
          cpu::transpose(cpu::Transpose<scalar_t>{source + input * outputs * terms + 1, target + input * outputs,
                                                  outputs, terms - 1, terms, inputs * outputs});
        }
      });
      scalar_t* sums = mutable_data<scalar_t>(bias);
      std::fill(sums, sums + outputs, scalar_t{0});
      for (std::int64_t input = 0; input < inputs; ++input) {
        for (std::int64_t output = 0; output < outputs; ++output)
          sums[output] += source[(input * outputs + output) * terms];
      }
    });
  }

  void add_coefficient_gradient(const at::Tensor& dpacked, const at::Tensor& dbias,
                                const at::Tensor& gradient) override {
    const std::int64_t inputs = gradient.size(0);
    const std::int64_t outputs = gradient.size(1);
    const std::int64_t terms = gradient.size(2);
    AT_DISPATCH_FLOATING_TYPES(gradient.scalar_type(), "add_coefficient_gradient", [&] {
      const scalar_t* constant = data<scalar_t>(dbias);
      at::parallel_for(0, inputs, grain_of(outputs * terms), [&](std::int64_t begin, std::int64_t end) {
        const scalar_t* source_row = data<scalar_t>(dpacked);
        for (std::int64_t output = 0; output < outputs; ++output, source_row += (terms - 1) * inputs) {
          for (std::int64_t input = begin; input < end; ++input) {
            scalar_t* target = mutable_data<scalar_t>(gradient) + (input * outputs + output) * terms;
            target[0] += constant[output];
            for (std::int64_t d = 1; d < terms; ++d) target[d] += source_row[(d - 1) * inputs + input];
          }
        }
      });
    });
  }

  void attention(const at::Tensor& qkv, SequenceShape shape, HeadShape heads, const AttentionResult& result) override {
    if (cpu::TiledAttention::is_faster(shape.time, heads.head_dim)) {
      return tiled_attention_.forward(qkv, shape, heads, result);
    }
    AT_DISPATCH_FLOATING_TYPES(qkv.scalar_type(), "attention", [&] {
      for_each_sequence<scalar_t>(qkv, shape, heads, [&](cpu::Attention<scalar_t> a, std::int64_t row) {
        a.context = mutable_data<scalar_t>(result.context) + row * heads.features();
        a.log_sums = mutable_data<scalar_t>(result.log_sums) + row * heads.heads;
        cpu::attention(a);
      });
    });
  }

  void attention_backward(const AttentionGradient& gradient, SequenceShape shape, HeadShape heads) override {
    if (cpu::TiledAttention::is_faster(shape.time, heads.head_dim)) {
      return tiled_attention_.backward(gradient, shape, heads);
    }
    AT_DISPATCH_FLOATING_TYPES(gradient.qkv.scalar_type(), "attention_backward", [&] {
      for_each_sequence<scalar_t>(gradient.qkv, shape, heads, [&](cpu::Attention<scalar_t> a, std::int64_t row) {
        a.context = mutable_data<scalar_t>(gradient.result.context) + row * heads.features();
        a.log_sums = mutable_data<scalar_t>(gradient.result.log_sums) + row * heads.heads;
        a.dcontext = data<scalar_t>(gradient.dcontext) + row * heads.features();
        a.dqkv = mutable_data<scalar_t>(gradient.dqkv) + row * 3 * heads.features();
        cpu::attention_backward(a);
      });
    });
  }

  void gelu(const at::Tensor& z, const at::Tensor& activation) override {
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "gelu", [&] {
      at::parallel_for(0, z.numel(), kGrainElements, [&](std::int64_t begin, std::int64_t end) {
        cpu::gelu(
            cpu::Gelu<scalar_t>{data<scalar_t>(z) + begin, mutable_data<scalar_t>(activation) + begin, end - begin});
      });
    });
  }

  void gelu_backward(const at::Tensor& z, const at::Tensor& gradient) override {
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "gelu_backward", [&] {
      at::parallel_for(0, z.numel(), kGrainElements, [&](std::int64_t begin, std::int64_t end) {
        cpu::gelu_backward(
            cpu::Gelu<scalar_t>{data<scalar_t>(z) + begin, mutable_data<scalar_t>(gradient) + begin, end - begin});
      });
    });
  }

  void add_column_sums(const at::Tensor& matrix, const at::Tensor& sums) override {
    AT_DISPATCH_FLOATING_TYPES(matrix.scalar_type(), "add_column_sums", [&] {
      cpu::add_column_sums(cpu::ColumnSums<scalar_t>{data<scalar_t>(matrix), mutable_data<scalar_t>(sums),
                                                     matrix.size(0), matrix.size(1), matrix.size(1)});
    });
  }

  void drop(const at::Tensor& values, const Dropout& dropout, const at::Tensor& out) override {
    const std::uint64_t first = dropout.first_row * static_cast<std::uint64_t>(values.size(1));
    AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "drop", [&] {
      at::parallel_for(0, values.numel(), kGrainElements, [&](std::int64_t begin, std::int64_t end) {
        cpu::drop(cpu::Drop<scalar_t>{.values = data<scalar_t>(values) + begin,
                                      .out = mutable_data<scalar_t>(out) + begin,
                                      .count = end - begin,
                                      .first = first + static_cast<std::uint64_t>(begin),
                                      .seed = dropout.seed,
                                      .step = static_cast<std::uint32_t>(dropout.step),
                                      .place = dropout.place + static_cast<std::uint32_t>(dropout.step >> 32 << 12),
                                      .kept = dropout.kept(),
                                      .scale = static_cast<scalar_t>(dropout.scale())});
      });
    });
  }

  void embed(const at::Tensor& ids, const at::Tensor& token_embedding, const at::Tensor& position_embedding,
             const at::Tensor& x) override {
    const std::int64_t channels = x.size(1);
    const std::int64_t time = position_embedding.size(0);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "embed", [&] {
      for (std::int64_t row = 0; row < x.size(0); ++row) {
        const scalar_t* token = data<scalar_t>(token_embedding) + data<std::int64_t>(ids)[row] * channels;
        const scalar_t* position = data<scalar_t>(position_embedding) + row % time * channels;
        std::transform(token, token + channels, position, mutable_data<scalar_t>(x) + row * channels, std::plus<>());
      }
    });
  }

  void embed_backward(const TokenRows& tokens, const at::Tensor& dx, const at::Tensor& token_gradient,
                      const at::Tensor& position_gradient) override {
    const std::int64_t channels = dx.size(1);
    const std::int64_t time = position_gradient.size(0);
    AT_DISPATCH_FLOATING_TYPES(dx.scalar_type(), "embed_backward", [&] {
      for (std::int64_t row = 0; row < dx.size(0); ++row) {
        const scalar_t* gradient = data<scalar_t>(dx) + row * channels;
        scalar_t* token = mutable_data<scalar_t>(token_gradient) + data<std::int64_t>(tokens.ids)[row] * channels;
        scalar_t* position = mutable_data<scalar_t>(position_gradient) + row % time * channels;
        std::transform(gradient, gradient + channels, token, token, std::plus<>());
        std::transform(gradient, gradient + channels, position, position, std::plus<>());
      }
    });
  }

  LossSum head_loss(const at::Tensor& x, const at::Tensor& head, const LossTargets& targets) override {
    return head_loss_.sweep(x, {head, {}}, targets, {});
  }

  QueuedLoss head_loss_and_gradient(const at::Tensor& x, const Parameter& head, const LossTargets& targets,
                                    const at::Tensor& dx) override {
    return QueuedLoss(at::scalar_tensor(head_loss_.sweep(x, head, targets, dx).loss, at::kDouble));
  }

 private:
  static constexpr std::int64_t kGrainRows = 64;
  static constexpr std::int64_t kGrainElements = 1 << 14;

  // Parts, each of `size` elements, below which another thread costs more than it brings.
  static std::int64_t grain_of(std::int64_t size) { return std::max<std::int64_t>(1, kGrainElements / size); }

  // Calls body(arguments with qkv, scratch and shape set, first row) for every sequence, on all threads.
  template <class T, class Body>
  void for_each_sequence(const at::Tensor& qkv, SequenceShape shape, HeadShape heads, const Body& body) {
    const std::int64_t scratch_size = cpu::attention_scratch_size(shape.time, heads.head_dim);
    reuse(shares_, {at::get_num_threads(), scratch_size}, qkv.options());
    const std::int64_t grain = grain_of(shape.time * shape.time * heads.features());
    at::parallel_for(0, shape.batch, grain, [&](std::int64_t begin, std::int64_t end) {
      cpu::Attention<T> a = {};
      a.scratch = mutable_data<T>(shares_) + at::get_thread_num() * scratch_size;
      a.time = shape.time;
      a.heads = heads.heads;
      a.head_dim = heads.head_dim;
      for (std::int64_t sequence = begin; sequence < end; ++sequence) {
        const std::int64_t row = sequence * shape.time;
        a.qkv = data<T>(qkv) + row * 3 * heads.features();
        body(a, row);
      }
    });
  }

  cpu::MatrixProduct product_;
  cpu::HeadLoss head_loss_;
  cpu::TiledAttention tiled_attention_;
  at::Tensor shares_;  // each thread's scratch memory, or its share of a sum
};

}  // namespace

std::unique_ptr<Operations> make_cpu_operations(config::Precision precision) {
  return std::make_unique<CpuOperations>(precision);
}

}  // namespace kangpt::operations
