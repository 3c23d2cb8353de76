// The matrix products of a tile of the vocabulary, and the exponentials that are kept between them.
#pragma once

#include "operations/cpu/matmul.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations::cpu {

// A chunk of rows against one tile of the vocabulary. Matrices are row-major; [vocabulary, rows] means transposed
// logits.
template <class T>
struct HeadTile {
  std::int64_t thread;  // 0 <= thread < threads
  std::int64_t first;   // vocabulary row of the tile
  std::int64_t size;
  const T* weight;  // [size, channels]
};
struct HeadSizes {
  std::int64_t rows;  // of the chunk
  std::int64_t channels;
  std::int64_t vocabulary;
  std::int64_t tile;  // greatest size of a tile
  std::int64_t threads;
};

// Products in T, whose exponentials stay where the logits were. Owns its memory; different tiles may be worked on by
// different threads.
template <class T>
class HeadProducts {
 public:
  // x: [rows, channels], the chunk's.
  void begin(const T* x, const HeadSizes& sizes);
  // The tile's logits [size, rows], to be replaced by exponentials in place.
  T* logits(const HeadTile<T>& tile);
  // Keeps what stands in place of the logits until add_gradients().
  void keep(const HeadTile<T>&) {}
  // product [channels, rows] = weight^T exponentials;  dweight [size, channels] += exponentials x, x [rows, channels].
  struct Gradients {
    const T* x;
    T* dweight;
    T* product;
  };
  void add_gradients(const HeadTile<T>& tile, const Gradients& gradients);

 private:
  HeadSizes sizes_ = {};
  at::Tensor x_transposed_;   // [channels, rows]
  at::Tensor exponentials_;   // [vocabulary, rows]
  at::Tensor weight_copies_;  // [threads, channels, tile]
};

// Products in bfloat16 with sums in fp32; half the memory.
class Bfloat16HeadProducts {
 public:
  void begin(const float* x, const HeadSizes& sizes);
  float* logits(const HeadTile<float>& tile);
  void keep(const HeadTile<float>& tile);
  using Gradients = HeadProducts<float>::Gradients;
  void add_gradients(const HeadTile<float>& tile, const Gradients& gradients);

 private:
  cpu::Bfloat16* kept(const HeadTile<float>& tile);

  HeadSizes sizes_ = {};
  at::Tensor x_transposed_;  // [channels, rows]
  at::Tensor x_packed_;      // the same, packed
  at::Tensor exponentials_;  // packed tile by tile
  at::Tensor tiles_;         // [threads, tile, rows], fp32
  at::Tensor left_;          // [threads, ...]: a product's left operand
  at::Tensor right_;         // [threads, ...]: its right operand, packed
};

}  // namespace kangpt::operations::cpu
