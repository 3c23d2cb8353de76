#include "model/cpu_head_loss.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "model/cpu_kernels.hpp"
#include "model/cpu_matmul.hpp"
#include "model/sublayer.hpp"

namespace kangpt::model {
namespace {

constexpr std::int64_t kChunkRows = 256;
constexpr std::int64_t kGrainRows = 32;
constexpr std::int64_t kTile = 512;  // vocabulary rows: 512 KB of exponentials, 256 KB of weights

}  // namespace

template <class T>
struct CpuHeadLoss::Chunk {
  const T* x;       // [rows, channels]
  const T* weight;  // [vocabulary, channels]
  T* dweight;
  T* dx;
  const std::int64_t* ids;  // [rows]
  const float* mask;
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t vocabulary;

  std::int64_t tiles() const { return (vocabulary + kTile - 1) / kTile; }
  std::int64_t tile_size(std::int64_t tile) const { return std::min(kTile, vocabulary - tile * kTile); }
};

template <class T>
void CpuHeadLoss::first_sweep(const Chunk<T>& chunk) {
  const at::TensorOptions options = exponentials_.options();
  reuse(exponentials_, {chunk.vocabulary, chunk.rows}, options);
  reuse(x_transposed_, {chunk.channels, chunk.rows}, options);
  reuse(maxima_, {chunk.tiles(), chunk.rows}, options);
  reuse(sums_, {chunk.tiles(), chunk.rows}, options);
  reuse(row_values_, {4, chunk.rows}, options);
  T* exponentials = exponentials_.mutable_data_ptr<T>();
  T* x_transposed = x_transposed_.mutable_data_ptr<T>();
  T* maxima = maxima_.mutable_data_ptr<T>();
  T* sums = sums_.mutable_data_ptr<T>();
  T* target_logits = row_values_.mutable_data_ptr<T>();
  kernels::transpose(
      kernels::Transpose<T>{chunk.x, x_transposed, chunk.rows, chunk.channels, chunk.channels, chunk.rows});
  at::parallel_for(0, chunk.tiles(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t tile = begin; tile < end; ++tile) {
      const std::int64_t first = tile * kTile;
      T* logits = exponentials + first * chunk.rows;
      multiply_tile(TileProduct<T>{chunk.weight + first * chunk.channels, chunk.channels, x_transposed, chunk.rows,
                                   logits, chunk.rows, chunk.tile_size(tile), chunk.rows, chunk.channels},
                    Accumulate::kNo);
      for (std::int64_t row = 0; row < chunk.rows; ++row) {
        if (chunk.ids[row] / kTile == tile) target_logits[row] = logits[(chunk.ids[row] - first) * chunk.rows + row];
      }
      kernels::softmax_tile(kernels::SoftmaxTile<T>{logits, maxima + tile * chunk.rows, sums + tile * chunk.rows,
                                                    chunk.tile_size(tile), chunk.rows});
    }
  });
}

// Each row's log-sum-exp from its tiles, its loss, and the gradient of its target's logit.
template <class T>
void CpuHeadLoss::combine(const Chunk<T>& chunk) {
  const T* maxima = maxima_.const_data_ptr<T>();
  const T* sums = sums_.const_data_ptr<T>();
  const T* target_logits = row_values_.const_data_ptr<T>();
  T* log_sums = row_values_.mutable_data_ptr<T>() + chunk.rows;
  T* mask = log_sums + chunk.rows;
  T* target_gradients = mask + chunk.rows;
  row_losses_.resize(static_cast<std::size_t>(chunk.rows));
  const auto combine_row = [&](std::int64_t row) {
    T maximum = maxima[row];
    for (std::int64_t tile = 1; tile < chunk.tiles(); ++tile) {
      maximum = std::max(maximum, maxima[tile * chunk.rows + row]);
    }
    double sum = 0;
    for (std::int64_t tile = 0; tile < chunk.tiles(); ++tile) {
      const std::int64_t index = tile * chunk.rows + row;
      sum += static_cast<double>(sums[index]) * std::exp(static_cast<double>(maxima[index] - maximum));
    }
    const double log_sum = static_cast<double>(maximum) + std::log(sum);
    const double log_probability = static_cast<double>(target_logits[row]) - log_sum;
    const auto row_mask = static_cast<double>(chunk.mask[row]);
    mask[row] = static_cast<T>(row_mask);
    log_sums[row] = static_cast<T>(log_sum);
    target_gradients[row] = static_cast<T>(row_mask * std::expm1(log_probability));  // p - 1, no cancellation
    row_losses_[static_cast<std::size_t>(row)] = -row_mask * log_probability;
  };
  at::parallel_for(0, chunk.rows, kGrainRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) combine_row(row);
  });
}

template <class T>
void CpuHeadLoss::second_sweep(const Chunk<T>& chunk) {
  const std::int64_t threads = at::get_num_threads();
  const at::TensorOptions options = exponentials_.options();
  reuse(weight_copies_, {threads, chunk.channels, kTile}, options);
  reuse(dx_shares_, {threads, chunk.channels, chunk.rows}, options);
  dx_shares_.zero_();
  const T* log_sums = row_values_.const_data_ptr<T>() + chunk.rows;
  const T* mask = log_sums + chunk.rows;
  const T* target_gradients = mask + chunk.rows;
  T* factors = maxima_.mutable_data_ptr<T>();
  at::parallel_for(0, chunk.tiles(), 1, [&](std::int64_t begin, std::int64_t end) {
    T* weight_copy = weight_copies_.mutable_data_ptr<T>() + at::get_thread_num() * chunk.channels * kTile;
    T* dx_share = dx_shares_.mutable_data_ptr<T>() + at::get_thread_num() * chunk.channels * chunk.rows;
    for (std::int64_t tile = begin; tile < end; ++tile) {
      const std::int64_t first = tile * kTile;
      const std::int64_t size = chunk.tile_size(tile);
      T* gradient = exponentials_.mutable_data_ptr<T>() + first * chunk.rows;
      T* factor = factors + tile * chunk.rows;
      kernels::exponentials(kernels::Exponentials<T>{factor, log_sums, mask, factor, chunk.rows});
      kernels::scale_columns(kernels::ScaleColumns<T>{gradient, factor, size, chunk.rows});
      for (std::int64_t row = 0; row < chunk.rows; ++row) {
        if (chunk.ids[row] / kTile == tile) {
          gradient[(chunk.ids[row] - first) * chunk.rows + row] = target_gradients[row];
        }
      }
      const T* weight = chunk.weight + first * chunk.channels;
      kernels::transpose(kernels::Transpose<T>{weight, weight_copy, size, chunk.channels, chunk.channels, kTile});
      multiply_tile(TileProduct<T>{weight_copy, kTile, gradient, chunk.rows, dx_share, chunk.rows, chunk.channels,
                                   chunk.rows, size},
                    Accumulate::kYes);
      multiply_tile(
          TileProduct<T>{gradient, chunk.rows, chunk.x, chunk.channels, chunk.dweight + first * chunk.channels,
                         chunk.channels, size, chunk.channels, chunk.rows},
          Accumulate::kYes);
    }
  });
  T* dx_transposed = dx_shares_.mutable_data_ptr<T>();
  const std::int64_t share = chunk.channels * chunk.rows;
  for (std::int64_t thread = 1; thread < threads; ++thread) {
    kernels::add_column_sums(kernels::ColumnSums<T>{dx_transposed + thread * share, dx_transposed, 1, share, share});
  }
  kernels::transpose(
      kernels::Transpose<T>{dx_transposed, chunk.dx, chunk.channels, chunk.rows, chunk.rows, chunk.channels});
}

LossSum CpuHeadLoss::sweep(const at::Tensor& x, const Parameter& head, const LossTargets& targets,
                           const at::Tensor& dx) {
  if (!exponentials_.defined()) exponentials_ = at::empty({0}, x.options());
  LossSum result;
  const at::Tensor mask = targets.mask.contiguous();
  const at::Tensor ids = targets.ids.contiguous();
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "head_loss", [&] {
    const std::int64_t channels = x.size(1);
    for (std::int64_t begin = 0; begin < x.size(0); begin += kChunkRows) {
      const Chunk<scalar_t> chunk = {x.const_data_ptr<scalar_t>() + begin * channels,
                                     head.value.const_data_ptr<scalar_t>(),
                                     dx.defined() ? head.gradient.mutable_data_ptr<scalar_t>() : nullptr,
                                     dx.defined() ? dx.mutable_data_ptr<scalar_t>() + begin * channels : nullptr,
                                     ids.const_data_ptr<std::int64_t>() + begin,
                                     mask.const_data_ptr<float>() + begin,
                                     std::min(kChunkRows, x.size(0) - begin),
                                     channels,
                                     head.value.size(0)};
      first_sweep(chunk);
      combine(chunk);
      for (const double row_loss : row_losses_) result.loss += row_loss;
      if (dx.defined()) second_sweep(chunk);
      for (std::int64_t row = 0; row < chunk.rows; ++row) result.tokens += static_cast<double>(chunk.mask[row]);
    }
  });
  return result;
}

}  // namespace kangpt::model
