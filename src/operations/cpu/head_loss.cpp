#include "operations/cpu/head_loss.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "operations/cpu/kernels.hpp"
#include "operations/scratch.hpp"

namespace kangpt::operations::cpu {
namespace {

// Between the sweeps the exponentials of a chunk stay in memory, rows x vocabulary of them: 100 MB for 512 rows of
// GPT-2's vocabulary. More rows would mean more memory; fewer, that the head's weights are read more often.
constexpr std::int64_t kChunkRows = 512;
constexpr std::int64_t kGrainRows = 32;
// Vocabulary rows of a tile, which a thread takes from logits to exponentials in its second-level cache: 512 KB with a
// whole chunk, and 128 KB of weights at 128 channels.
constexpr std::int64_t kTile = 256;

}  // namespace

template <class T>
struct HeadLoss::Chunk {
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
  HeadTile<T> tile(std::int64_t index) const {
    const std::int64_t first = index * kTile;
    return {at::get_thread_num(), first, std::min(kTile, vocabulary - first), weight + first * channels};
  }
};

template <class T, class Products>
void HeadLoss::first_sweep(const Chunk<T>& chunk, Products& products) {
  const at::TensorOptions options = c10::CppTypeToScalarType<T>::value;
  reuse(maxima_, {chunk.tiles(), chunk.rows}, options);
  reuse(sums_, {chunk.tiles(), chunk.rows}, options);
  reuse(row_values_, {4, chunk.rows}, options);
  T* maxima = maxima_.mutable_data_ptr<T>();
  T* sums = sums_.mutable_data_ptr<T>();
  T* target_logits = row_values_.mutable_data_ptr<T>();
  products.begin(chunk.x, {chunk.rows, chunk.channels, chunk.vocabulary, kTile, at::get_num_threads()});
  at::parallel_for(0, chunk.tiles(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t index = begin; index < end; ++index) {
      const HeadTile<T> tile = chunk.tile(index);
      T* logits = products.logits(tile);
      const auto for_each_target = [&](const auto& body) {
        for (std::int64_t row = 0; row < chunk.rows; ++row) {
          if (chunk.ids[row] / kTile == index) body(row, logits[(chunk.ids[row] - tile.first) * chunk.rows + row]);
        }
      };
      for_each_target([&](std::int64_t row, T& logit) { target_logits[row] = logit; });
      cpu::softmax_tile(
          cpu::SoftmaxTile<T>{logits, maxima + index * chunk.rows, sums + index * chunk.rows, tile.size, chunk.rows});
      for_each_target([](std::int64_t, T& exponential) { exponential = 0; });
      products.keep(tile);
    }
  });
}

// Each row's log-sum-exp from its tiles, its loss, and the gradient of its target's logit.
template <class T>
void HeadLoss::combine(const Chunk<T>& chunk) {
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

// dx = sum over tiles of factor * (weight^T exponentials), and the gradient of the targets' logits in T.
template <class T, class Products>
void HeadLoss::second_sweep(const Chunk<T>& chunk, Products& products) {
  const std::int64_t threads = at::get_num_threads();
  const std::int64_t share_size = chunk.channels * chunk.rows;
  reuse(dx_shares_, {threads, chunk.channels, chunk.rows}, maxima_.options());
  reuse(scratch_, {threads, 2, chunk.channels, chunk.rows}, maxima_.options());
  dx_shares_.zero_();
  const T* log_sums = row_values_.const_data_ptr<T>() + chunk.rows;
  const T* mask = log_sums + chunk.rows;
  const T* target_gradients = mask + chunk.rows;
  T* factors = maxima_.mutable_data_ptr<T>();
  at::parallel_for(0, chunk.tiles(), 1, [&](std::int64_t begin, std::int64_t end) {
    T* product = scratch_.mutable_data_ptr<T>() + at::get_thread_num() * 2 * share_size;
    T* scaled_x = product + share_size;
    T* share = dx_shares_.mutable_data_ptr<T>() + at::get_thread_num() * share_size;
    for (std::int64_t index = begin; index < end; ++index) {
      const HeadTile<T> tile = chunk.tile(index);
      T* dweight = chunk.dweight + tile.first * chunk.channels;
      T* factor = factors + index * chunk.rows;
      cpu::exponentials(cpu::Exponentials<T>{factor, log_sums, mask, factor, chunk.rows});
      cpu::scale_rows(cpu::ScaleRows<T>{chunk.x, factor, scaled_x, chunk.rows, chunk.channels});
      products.add_gradients(tile, {scaled_x, dweight, product});
      cpu::add_scaled_columns(cpu::AddScaledColumns<T>{product, factor, share, chunk.channels, chunk.rows});
      for (std::int64_t row = 0; row < chunk.rows; ++row) {
        if (chunk.ids[row] / kTile != index) continue;
        const std::int64_t target = chunk.ids[row] - tile.first;
        cpu::add_scaled(cpu::AddScaled<T>{chunk.x + row * chunk.channels, target_gradients[row],
                                          dweight + target * chunk.channels, chunk.channels});
      }
    }
  });
  T* dx_transposed = dx_shares_.mutable_data_ptr<T>();
  for (std::int64_t thread = 1; thread < threads; ++thread) {
    cpu::add_column_sums(
        cpu::ColumnSums<T>{dx_transposed + thread * share_size, dx_transposed, 1, share_size, share_size});
  }
  cpu::transpose(cpu::Transpose<T>{dx_transposed, chunk.dx, chunk.channels, chunk.rows, chunk.rows, chunk.channels});
  for (std::int64_t row = 0; row < chunk.rows; ++row) {
    cpu::add_scaled(cpu::AddScaled<T>{chunk.weight + chunk.ids[row] * chunk.channels, target_gradients[row],
                                      chunk.dx + row * chunk.channels, chunk.channels});
  }
}

template <class T, class Products>
LossSum HeadLoss::sweep_chunks(const Chunk<T>& whole, Products& products) {
  LossSum result;
  for (std::int64_t begin = 0; begin < whole.rows; begin += kChunkRows) {
    Chunk<T> chunk = whole;
    chunk.x += begin * chunk.channels;
    if (chunk.dx != nullptr) chunk.dx += begin * chunk.channels;
    chunk.ids += begin;
    chunk.mask += begin;
    chunk.rows = std::min(kChunkRows, whole.rows - begin);
    first_sweep(chunk, products);
    combine(chunk);
    for (const double row_loss : row_losses_) result.loss += row_loss;
    if (chunk.dx != nullptr) second_sweep(chunk, products);
    for (std::int64_t row = 0; row < chunk.rows; ++row) result.tokens += static_cast<double>(chunk.mask[row]);
  }
  return result;
}

LossSum HeadLoss::sweep(const at::Tensor& x, const Parameter& head, const LossTargets& targets, const at::Tensor& dx) {
  const at::Tensor mask = targets.mask.contiguous();
  const at::Tensor ids = targets.ids.contiguous();
  const auto whole = [&]<class T>(T) {
    return Chunk<T>{x.const_data_ptr<T>(),
                    head.value.const_data_ptr<T>(),
                    dx.defined() ? head.gradient.mutable_data_ptr<T>() : nullptr,
                    dx.defined() ? dx.mutable_data_ptr<T>() : nullptr,
                    ids.const_data_ptr<std::int64_t>(),
                    mask.const_data_ptr<float>(),
                    x.size(0),
                    x.size(1),
                    head.value.size(0)};
  };
  if (x.scalar_type() == at::kDouble) return sweep_chunks(whole(double{}), double_products_);
  if (precision_ == config::Precision::kBf16) return sweep_chunks(whole(float{}), bfloat16_products_);
  return sweep_chunks(whole(float{}), products_);
}

}  // namespace kangpt::operations::cpu
