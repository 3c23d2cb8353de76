#include "operations/cuda/muon.hpp"

#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr int kSize = 4;                                              // elements of a thread at once
constexpr std::int64_t kOwnByBlock = std::int64_t{kThreads} * kSize;  // elements
constexpr std::int64_t kSummedByBlock = std::int64_t{kThreads} * 64;  // elements
constexpr unsigned kWarps = kThreads / kWarp;
// A block takes kTile x kTile elements of a product, a thread kSize x kSize of them; kDepth terms of the sums at once.
constexpr int kTile = 64;
constexpr int kDepth = 16;
constexpr unsigned kThreadsAcross = kTile / kSize;
static_assert(kThreads == kThreadsAcross * kThreadsAcross && kThreads * kSize == kTile * kDepth);

// The last matrix that begins with this block or one before, in the kind of launch.
template <std::int64_t MuonMatrix::*kFirstBlock>
__device__ __forceinline__ const MuonMatrix& matrix_of_block(const MuonMatrix* matrices, int count) {
  int first = 0, end = count;
  while (end - first > 1) {
    const int middle = (first + end) / 2;
    (matrices[middle].*kFirstBlock <= blockIdx.x ? first : end) = middle;
  }
  return matrices[first];
}

// Products and sums are fused where this says so and nowhere else: an element has the same bits wherever it is cut.
template <int kAtOnce>
__device__ __forceinline__ void take_some(const MuonDirections& a, std::int64_t first) {
  auto m = load<kAtOnce>(a.first_moment + first), v = load<kAtOnce>(a.second_moment + first);
  auto d = load<kAtOnce>(a.gradient + first);
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    const float g = d.v[i] * a.gradient_scale;
    const float added = a.one_minus_momentum * g;
    m.v[i] = fmaf(a.momentum, m.v[i], added);
    v.v[i] = fmaf(a.beta2, v.v[i], a.one_minus_beta2 * g * g);
    d.v[i] = fmaf(a.momentum, m.v[i], added);
  }
  store_at_once<kAtOnce>(a.first_moment + first, m);
  store_at_once<kAtOnce>(a.second_moment + first, v);
  store_at_once<kAtOnce>(a.directions + first, d);
  store<kAtOnce>(a.gradient + first, Vector<float, kAtOnce>{});
}

__global__ void __launch_bounds__(kThreads) take_directions(const __grid_constant__ MuonDirections a, bool wide) {
  const MuonMatrix& matrix = matrix_of_block<&MuonMatrix::own_block>(a.table.matrices, a.table.count);
  const std::int64_t in_own = (blockIdx.x - matrix.own_block) * kOwnByBlock + threadIdx.x * kSize;
  const std::int64_t first = matrix.own + in_own, end = matrix.own + matrix.end - matrix.begin;
  if (first >= end) return;
  if (wide && first % kSize == 0 && first + kSize <= end) return take_some<kSize>(a, first);
  for (std::int64_t i = first; i < first + kSize && i < end; ++i) take_some<1>(a, i);
}

// In fp64, where no square of an fp32 number vanishes.
__global__ void __launch_bounds__(kThreads) add_matrix_squares(const __grid_constant__ MuonSteps a) {
  __shared__ double shared[kWarps];
  const MuonMatrix& matrix = matrix_of_block<&MuonMatrix::sum_block>(a.table.matrices, a.table.count);
  const std::int64_t block = blockIdx.x - matrix.sum_block, elements = matrix.rows * matrix.columns;
  const std::int64_t begin = block * kSummedByBlock;
  const std::int64_t end = begin + kSummedByBlock < elements ? begin + kSummedByBlock : elements;
  const float* from = a.directions + matrix.direction;
  double sum = 0;
#pragma unroll 8
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kThreads)
    sum += static_cast<double>(from[i]) * static_cast<double>(from[i]);
  sum = over_block(sum, shared, 0.0, [](double value) { return warp_sum(value); });
  if (threadIdx.x == 0) a.sums[matrix.sum + block] = sum;
}

// 32 x 32 elements of the matrix, or of the zeros around its copy; its first row and column.
struct Place {
  std::int64_t row;
  std::int64_t column;
};
__device__ __forceinline__ bool is_tall(const MuonMatrix& matrix) {
  return matrix.rows > matrix.columns;
}
__device__ __forceinline__ Place place_of_block(const MuonMatrix& matrix) {
  const std::int64_t block = blockIdx.x - matrix.tile_block;
  const std::int64_t across = (is_tall(matrix) ? matrix.height : matrix.width) / kWarp;
  return {block / across * kWarp, block % across * kWarp};
}

__device__ __forceinline__ float length_of(const MuonSteps& a, const MuonMatrix& matrix) {
  __shared__ double shared[kWarps];
  const std::int64_t blocks = (matrix.rows * matrix.columns + kSummedByBlock - 1) / kSummedByBlock;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < blocks; i += kThreads) sum += a.sums[matrix.sum + i];
  sum = over_block(sum, shared, 0.0, [](double value) { return warp_sum(value); });
  return static_cast<float>(sqrt(sum)) + a.least_norm;
}

__global__ void __launch_bounds__(kThreads) copy_matrices(const __grid_constant__ MuonSteps a) {
  __shared__ float tile[kWarp][kWarp + 1];
  const MuonMatrix& matrix = matrix_of_block<&MuonMatrix::tile_block>(a.table.matrices, a.table.count);
  const float length = length_of(a, matrix);
  const Place place = place_of_block(matrix);
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const float* from = a.directions + matrix.direction;
  float* to = a.copies + matrix.copy;
  const bool turns = is_tall(matrix);
  for (unsigned i = warp; i < kWarp; i += kWarps) {
    const std::int64_t row = place.row + i, column = place.column + lane;
    const bool is_there = row < matrix.rows && column < matrix.columns;
    const float value = is_there ? from[row * matrix.columns + column] / length : 0;
    (turns ? tile[i][lane] : to[row * matrix.width + column]) = value;
  }
  if (!turns) return;
  __syncthreads();
  for (unsigned i = warp; i < kWarp; i += kWarps)
    to[(place.column + i) * matrix.width + place.row + lane] = tile[lane][i];
}

__global__ void __launch_bounds__(kThreads) change_parameters(const __grid_constant__ MuonSteps a, const float* steps) {
  __shared__ float tile[kWarp][kWarp + 1];
  const MuonMatrix& matrix = matrix_of_block<&MuonMatrix::tile_block>(a.table.matrices, a.table.count);
  const Place place = place_of_block(matrix);
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const float* from = steps + matrix.copy;
  const bool turns = is_tall(matrix);
  if (turns) {
    for (unsigned i = warp; i < kWarp; i += kWarps)
      tile[i][lane] = from[(place.column + i) * matrix.width + place.row + lane];
    __syncthreads();
  }
  const double learning_rate = a.learning_rate * matrix.rate_factor;
  const auto rate = static_cast<float>(learning_rate), decay = static_cast<float>(learning_rate * a.weight_decay);
  for (unsigned i = warp; i < kWarp; i += kWarps) {
    const std::int64_t row = place.row + i, column = place.column + lane;
    const std::int64_t element = row * matrix.columns + column;
    if (row >= matrix.rows || column >= matrix.columns || element < matrix.begin || element >= matrix.end) continue;
    const float step = matrix.scale * (turns ? tile[lane][i] : from[row * matrix.width + column]);
    float& p = a.parameters[matrix.own + element - matrix.begin];
    p = fmaf(-rate, step, fmaf(-decay, p, p));
  }
}

// One side of a product: kDepth terms of kTile sums, of which each thread fetches four for the whole block.
struct alignas(sizeof(Vector<float, kSize>)) Side {
  float terms[kDepth][kTile + kSize];
};

// Term k of sum i is from[k, i].
struct Straight {
  const float* from;
  std::int64_t pitch;
  __device__ __forceinline__ Vector<float, kSize> fetch(std::int64_t first_term) const {
    return load<kSize>(from + (first_term + threadIdx.x / kThreadsAcross) * pitch +
                       threadIdx.x % kThreadsAcross * kSize);
  }
  __device__ __forceinline__ static void put(const Vector<float, kSize>& values, Side& side) {
    store<kSize>(&side.terms[threadIdx.x / kThreadsAcross][threadIdx.x % kThreadsAcross * kSize], values);
  }
};

// Term k of sum i is from[i, k].
struct Turned {
  static constexpr unsigned kThreadsOfSum = kDepth / kSize;
  const float* from;
  std::int64_t pitch;
  __device__ __forceinline__ Vector<float, kSize> fetch(std::int64_t first_term) const {
    return load<kSize>(from + threadIdx.x / kThreadsOfSum * pitch + first_term + threadIdx.x % kThreadsOfSum * kSize);
  }
  __device__ __forceinline__ static void put(const Vector<float, kSize>& values, Side& side) {
#pragma unroll
    for (unsigned i = 0; i < kSize; ++i)
      side.terms[threadIdx.x % kThreadsOfSum * kSize + i][threadIdx.x / kThreadsOfSum] = values.v[i];
  }
};

// A thread's part of a tile, from this row and column of it on.
struct Part {
  Vector<float, kSize> rows[kSize];
};
__device__ __forceinline__ unsigned own_row() {
  return threadIdx.x / kThreadsAcross * kSize;
}
__device__ __forceinline__ unsigned own_column() {
  return threadIdx.x % kThreadsAcross * kSize;
}

// Each sum takes its terms one after the other, so that no bit depends on how the product is divided among threads.
// While some terms are added, the next are on their way.
template <class Terms>
__device__ __forceinline__ Part multiply_tile(const Terms& left, const Terms& right, std::int64_t terms) {
  __shared__ Side left_side, right_side;
  Part sums = {};
  auto next_left = left.fetch(0), next_right = right.fetch(0);
  for (std::int64_t first = 0; first < terms; first += kDepth) {
    __syncthreads();
    Terms::put(next_left, left_side);
    Terms::put(next_right, right_side);
    __syncthreads();
    if (first + kDepth < terms) {
      next_left = left.fetch(first + kDepth);
      next_right = right.fetch(first + kDepth);
    }
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      const auto l = load<kSize>(&left_side.terms[k][own_row()]), r = load<kSize>(&right_side.terms[k][own_column()]);
#pragma unroll
      for (int i = 0; i < kSize; ++i) {
#pragma unroll
        for (int j = 0; j < kSize; ++j) sums.rows[i].v[j] += l.v[i] * r.v[j];
      }
    }
  }
  return sums;
}

struct Square {
  MuonTable table;
  const float* from;
  float* to;
};

// to = before * from + factor * from from^T, with `from` the copies or the squares, which are symmetric as the results
// are: of two tiles that mirror each other one is computed.
template <bool kOfCopies>
__global__ void __launch_bounds__(kThreads)
    square(const __grid_constant__ Square a, [[maybe_unused]] float before, [[maybe_unused]] float factor) {
  const MuonMatrix& matrix = matrix_of_block<&MuonMatrix::square_block>(a.table.matrices, a.table.count);
  std::int64_t tile = blockIdx.x - matrix.square_block, row = 0;
  for (; tile > row; ++row) tile -= row + 1;
  row *= kTile;
  const std::int64_t column = tile * kTile, height = matrix.height;
  const std::int64_t pitch = kOfCopies ? matrix.width : height;
  const float* from = a.from + (kOfCopies ? matrix.copy : matrix.square);
  float* to = a.to + matrix.square;
  Part part = multiply_tile<Turned>({from + row * pitch, pitch}, {from + column * pitch, pitch},
                                    kOfCopies ? matrix.width_terms : matrix.height_terms);
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    const std::int64_t element = (row + own_row() + i) * height + column + own_column();
    if constexpr (!kOfCopies) {
      const auto old = load<kSize>(from + element);
#pragma unroll
      for (int j = 0; j < kSize; ++j) part.rows[i].v[j] = fmaf(before, old.v[j], factor * part.rows[i].v[j]);
    }
    store_at_once<kSize>(to + element, part.rows[i]);
  }
  if (row == column) return;
#pragma unroll
  for (int j = 0; j < kSize; ++j) {
    Vector<float, kSize> mirrored;
#pragma unroll
    for (int i = 0; i < kSize; ++i) mirrored.v[i] = part.rows[i].v[j];
    store_at_once<kSize>(to + (column + own_column() + j) * height + row + own_row(), mirrored);
  }
}

struct Product {
  MuonTable table;
  const float* squares;
  const float* from;
  float* to;
};

// to = before * from + square from.
__global__ void __launch_bounds__(kThreads) multiply_copies(const __grid_constant__ Product a, float before) {
  const MuonMatrix& matrix = matrix_of_block<&MuonMatrix::product_block>(a.table.matrices, a.table.count);
  const std::int64_t tile = blockIdx.x - matrix.product_block, across = matrix.width / kTile;
  const std::int64_t row = tile / across * kTile, column = tile % across * kTile;
  const float* from = a.from + matrix.copy;
  Part part = multiply_tile<Straight>({a.squares + matrix.square + row, matrix.height}, {from + column, matrix.width},
                                      matrix.height_terms);
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    const std::int64_t element = (row + own_row() + i) * matrix.width + column + own_column();
    const auto old = load<kSize>(from + element);
#pragma unroll
    for (int j = 0; j < kSize; ++j) part.rows[i].v[j] = fmaf(before, old.v[j], part.rows[i].v[j]);
    store_at_once<kSize>(a.to + matrix.copy + element, part.rows[i]);
  }
}

// Of one tile.
double flops_of(std::int64_t terms) {
  return 2.0 * kTile * kTile * static_cast<double>(terms);
}

std::int64_t padded(std::int64_t size, int to_multiple_of) {
  return divided_up(size, to_multiple_of) * to_multiple_of;
}

void include(std::int64_t first, std::int64_t last, std::int64_t& begin, std::int64_t& end) {
  if (begin == end || first < begin) begin = first;
  if (last > end) end = last;
}

bool begins_with_vector(const void* buffer) {
  return reinterpret_cast<std::uintptr_t>(buffer) % sizeof(Vector<float, kSize>) == 0;
}

MemoryUse table_read(const MuonTable& table) {
  return reads(table.matrices, table.count);
}

// What the kernel does with the directions of all the matrices, or with the own elements.
MemoryUse directions_read(const MuonSteps& a) {
  const MuonSizes& sizes = a.table.sizes;
  return reads(a.directions + sizes.begin, sizes.elements).among<float>(sizes.end - sizes.begin);
}
template <class Use>
MemoryUse own(Use use, const float* buffer, const MuonSizes& sizes) {
  return use(buffer + sizes.own_begin, sizes.own_elements).template among<float>(sizes.own_end - sizes.own_begin);
}

// The powers of X in a step, and then the next X.
void launch_step(const MuonSteps& a, const float* from, float* to, Stream stream) {
  const MuonTable& table = a.table;
  const MuonSizes& sizes = table.sizes;
  float *const squares = a.squares, *const polynomial = a.squares + sizes.squares;
  launch({"muon_squares",
          {table_read(table), reads(from, sizes.copies), writes(squares, sizes.squares)},
          sizes.copies_square_flops},
         {sizes.square_blocks}, stream, &square<true>, Square{table, from, squares}, 0.0F, 1.0F);
  launch({"muon_polynomials",
          {table_read(table), reads(squares, sizes.squares), writes(polynomial, sizes.squares)},
          sizes.squares_square_flops},
         {sizes.square_blocks}, stream, &square<false>, Square{table, squares, polynomial}, a.cubic, a.quintic);
  launch({"muon_products",
          {table_read(table), reads(polynomial, sizes.squares), reads(from, sizes.copies), writes(to, sizes.copies)},
          sizes.product_flops},
         {sizes.product_blocks}, stream, &multiply_copies, Product{table, polynomial, from, to}, a.linear);
}

}  // namespace

void place(MuonMatrix& matrix, MuonSizes& sizes) {
  const std::int64_t elements = matrix.rows * matrix.columns;
  const bool tall = matrix.rows > matrix.columns;
  const std::int64_t shorter = tall ? matrix.columns : matrix.rows, longer = tall ? matrix.rows : matrix.columns;
  matrix.height = padded(shorter, kTile);
  matrix.width = padded(longer, kTile);
  matrix.height_terms = padded(shorter, kDepth);
  matrix.width_terms = padded(longer, kDepth);
  matrix.copy = sizes.copies;
  matrix.square = sizes.squares;
  matrix.sum = matrix.sum_block = sizes.sums;
  matrix.own_block = sizes.own_blocks;
  matrix.tile_block = sizes.tile_blocks;
  matrix.square_block = sizes.square_blocks;
  matrix.product_block = sizes.product_blocks;
  const std::int64_t own = matrix.end - matrix.begin, down = matrix.height / kTile, across = matrix.width / kTile;
  include(matrix.own, matrix.own + own, sizes.own_begin, sizes.own_end);
  include(matrix.direction, matrix.direction + elements, sizes.begin, sizes.end);
  sizes.own_elements += own;
  sizes.elements += elements;
  sizes.copies += matrix.height * matrix.width;
  sizes.squares += matrix.height * matrix.height;
  sizes.sums += divided_up(elements, kSummedByBlock);
  sizes.own_blocks += divided_up(own, kOwnByBlock);
  sizes.tile_blocks += matrix.height / kWarp * (matrix.width / kWarp);
  const std::int64_t square_blocks = down * (down + 1) / 2;
  sizes.square_blocks += square_blocks;
  sizes.product_blocks += down * across;
  sizes.copies_square_flops += static_cast<double>(square_blocks) * flops_of(matrix.width_terms);
  sizes.squares_square_flops += static_cast<double>(square_blocks) * flops_of(matrix.height_terms);
  sizes.product_flops += static_cast<double>(down * across) * flops_of(matrix.height_terms);
}

void muon_directions(const MuonDirections& a, Stream stream) {
  const MuonSizes& sizes = a.table.sizes;
  const bool wide = begins_with_vector(a.first_moment) && begins_with_vector(a.second_moment) &&
                    begins_with_vector(a.gradient) && begins_with_vector(a.directions);
  launch({"muon_directions",
          {table_read(a.table), own(updates<float>, a.first_moment, sizes), own(updates<float>, a.second_moment, sizes),
           own(updates<float>, a.gradient, sizes), own(writes<float>, a.directions, sizes)}},
         {sizes.own_blocks}, stream, &take_directions, a, wide);
}

void muon_steps(const MuonSteps& a, Stream stream) {
  const MuonSizes& sizes = a.table.sizes;
  float *from = a.copies, *to = a.copies + sizes.copies;
  launch({"muon_sums", {table_read(a.table), directions_read(a), writes(a.sums, sizes.sums)}}, {sizes.sums}, stream,
         &add_matrix_squares, a);
  launch(
      {"muon_copies", {table_read(a.table), directions_read(a), reads(a.sums, sizes.sums), writes(from, sizes.copies)}},
      {sizes.tile_blocks}, stream, &copy_matrices, a);
  for (int step = 0; step < a.steps; ++step) {
    launch_step(a, from, to, stream);
    float* const next = from;
    from = to;
    to = next;
  }
  launch(
      {"muon_parameters", {table_read(a.table), reads(from, sizes.copies), own(updates<float>, a.parameters, sizes)}},
      {sizes.tile_blocks}, stream, &change_parameters, a, static_cast<const float*>(from));
}

}  // namespace kangpt::operations::cuda
