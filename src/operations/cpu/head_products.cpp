#include "operations/cpu/head_products.hpp"

#include <algorithm>

#include "operations/cpu/kernels.hpp"
#include "operations/scratch.hpp"

namespace kangpt::operations::cpu {

template <class T>
void HeadProducts<T>::begin(const T* x, const HeadSizes& sizes) {
  sizes_ = sizes;
  const at::TensorOptions options = c10::CppTypeToScalarType<T>::value;
  reuse(exponentials_, {sizes.vocabulary, sizes.rows}, options);
  reuse(x_transposed_, {sizes.channels, sizes.rows}, options);
  reuse(weight_copies_, {sizes.threads, sizes.channels, sizes.tile}, options);
  cpu::transpose(cpu::Transpose<T>{x, x_transposed_.mutable_data_ptr<T>(), sizes.rows, sizes.channels, sizes.channels,
                                   sizes.rows});
}

template <class T>
T* HeadProducts<T>::logits(const HeadTile<T>& tile) {
  T* logits = exponentials_.mutable_data_ptr<T>() + tile.first * sizes_.rows;
  multiply_tile(TileProduct<T>{tile.weight, sizes_.channels, x_transposed_.const_data_ptr<T>(), sizes_.rows, logits,
                               sizes_.rows, tile.size, sizes_.rows, sizes_.channels},
                Accumulate::kNo);
  return logits;
}

template <class T>
void HeadProducts<T>::add_gradients(const HeadTile<T>& tile, const Gradients& gradients) {
  const std::int64_t channels = sizes_.channels;
  const std::int64_t rows = sizes_.rows;
  const T* exponentials = exponentials_.const_data_ptr<T>() + tile.first * rows;
  T* weight = weight_copies_.mutable_data_ptr<T>() + tile.thread * channels * sizes_.tile;
  cpu::transpose(cpu::Transpose<T>{tile.weight, weight, tile.size, channels, channels, sizes_.tile});
  multiply_tile(
      TileProduct<T>{weight, sizes_.tile, exponentials, rows, gradients.product, rows, channels, rows, tile.size},
      Accumulate::kNo);
  multiply_tile(
      TileProduct<T>{exponentials, rows, gradients.x, channels, gradients.dweight, channels, tile.size, channels, rows},
      Accumulate::kYes);
}

template class HeadProducts<float>;
template class HeadProducts<double>;

namespace {

cpu::Bfloat16* bfloat16_data(const at::Tensor& tensor) {
  return static_cast<cpu::Bfloat16*>(tensor.mutable_data_ptr());
}

std::int64_t panels_of(std::int64_t columns) {
  return (columns + cpu::kPanelColumns - 1) / cpu::kPanelColumns;
}

}  // namespace

void Bfloat16HeadProducts::begin(const float* x, const HeadSizes& sizes) {
  sizes_ = sizes;
  const std::int64_t tiles = (sizes.vocabulary + sizes.tile - 1) / sizes.tile;
  const std::int64_t greatest = std::max(sizes.rows, sizes.tile);
  reuse(x_transposed_, {sizes.channels, sizes.rows}, at::kFloat);
  reuse(x_packed_, {cpu::packed_size(sizes.channels, sizes.rows)}, at::kBFloat16);
  reuse(exponentials_, {tiles, cpu::packed_size(sizes.tile, sizes.rows)}, at::kBFloat16);
  reuse(tiles_, {sizes.threads, sizes.tile, std::max(sizes.rows, sizes.channels)}, at::kFloat);
  reuse(left_, {sizes.threads, cpu::even(sizes.tile) * cpu::even(std::max(sizes.rows, sizes.channels))}, at::kBFloat16);
  reuse(right_, {sizes.threads, cpu::packed_size(greatest, sizes.channels)}, at::kBFloat16);
  cpu::transpose(cpu::Transpose<float>{x, x_transposed_.mutable_data_ptr<float>(), sizes.rows, sizes.channels,
                                       sizes.channels, sizes.rows});
  cpu::pack_panels({x_transposed_.const_data_ptr<float>(), bfloat16_data(x_packed_), sizes.channels, sizes.rows, 0,
                    panels_of(sizes.rows)});
}

float* Bfloat16HeadProducts::logits(const HeadTile<float>& tile) {
  float* logits = tiles_[tile.thread].mutable_data_ptr<float>();
  cpu::Bfloat16* weight = bfloat16_data(left_[tile.thread]);
  cpu::round_rows({tile.weight, weight, tile.size, sizes_.channels});
  multiply_packed(
      {weight, bfloat16_data(x_packed_), logits, sizes_.rows, tile.size, sizes_.rows, cpu::even(sizes_.channels)},
      Accumulate::kNo);
  return logits;
}

cpu::Bfloat16* Bfloat16HeadProducts::kept(const HeadTile<float>& tile) {
  return bfloat16_data(exponentials_) + tile.first / sizes_.tile * cpu::packed_size(sizes_.tile, sizes_.rows);
}

void Bfloat16HeadProducts::keep(const HeadTile<float>& tile) {
  const float* exponentials = tiles_[tile.thread].const_data_ptr<float>();
  cpu::pack_panels({exponentials, kept(tile), tile.size, sizes_.rows, 0, panels_of(sizes_.rows)});
}

void Bfloat16HeadProducts::add_gradients(const HeadTile<float>& tile, const Gradients& gradients) {
  const std::int64_t channels = sizes_.channels;
  const std::int64_t rows = sizes_.rows;
  float* weight = tiles_[tile.thread].mutable_data_ptr<float>();
  cpu::Bfloat16* left = bfloat16_data(left_[tile.thread]);
  cpu::Bfloat16* right = bfloat16_data(right_[tile.thread]);
  cpu::transpose(cpu::Transpose<float>{tile.weight, weight, tile.size, channels, channels, tile.size});
  cpu::round_rows({weight, left, channels, tile.size});
  multiply_packed({left, kept(tile), gradients.product, rows, channels, rows, cpu::even(tile.size)}, Accumulate::kNo);
  cpu::unpack_panels({kept(tile), left, tile.size, rows});
  cpu::pack_panels({gradients.x, right, rows, channels, 0, panels_of(channels)});
  multiply_packed({left, right, gradients.dweight, channels, tile.size, channels, cpu::even(rows)}, Accumulate::kYes);
}

}  // namespace kangpt::operations::cpu
