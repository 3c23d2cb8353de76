#include "operations/cpu/tiled_attention.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <limits>

#include "operations/cpu/attention_tiles.hpp"
#include "operations/cpu/kernels.hpp"
#include "operations/cpu/matmul.hpp"
#include "operations/cpu/tensor_data.hpp"
#include "operations/scratch.hpp"

namespace kangpt::operations::cpu {
namespace {

constexpr std::int64_t kLanes = 16;  // queries of a tile come in whole vectors
// From which sizes on tiles are faster than lanes of queries. With AVX-512, where a vector of 16 lanes is a register,
// narrow heads of short sequences stay with lanes; elsewhere tiles took a quarter to a tenth of the time at each size
// measured, from 64 times and heads of 2 on (tests/operations/attention_benchmark.cpp).
constexpr std::int64_t kWideHead = 16;
constexpr std::int64_t kLongTime = 128;
constexpr std::int64_t kLongTimeOfHalfRegisters = 32;
constexpr std::int64_t kScores = kAttentionTile * kAttentionTile;

// What a tile is packed into. The backward pass takes all of it.
enum Part : std::int64_t {
  kKeys,
  kQueriesTransposed,
  kValues,  // of the forward pass transposed
  kForwardParts,
  kKeysTransposed = kForwardParts,
  kQueries,
  kDcontext,
  kDcontextTransposed,
  kBackwardParts
};

// Which gradients a tile of scores adds to.
enum class Gradients { kKeysAndValues, kAll };

// A tile of times of one head, and where its work is done.
struct Tile {
  std::int64_t head;   // of all sequences: sequence * heads + head
  std::int64_t place;  // of its head in the packed operands
  std::int64_t index;
  std::int64_t thread;

  Tile other(std::int64_t other_index) const { return {head, place, other_index, thread}; }
};

}  // namespace

// One pass over all heads. What a tile computes, and in which order it adds, is the same whichever thread computes it.
template <class Value>
class TiledAttention::Sweep {
 public:
  // dqkv is undefined in a forward pass.
  Sweep(TiledAttention& owner, const Operations::AttentionGradient& tensors, SequenceShape shape, HeadShape heads)
      : owner_(owner),
        shape_(shape),
        heads_(heads),
        tiles_((shape.time + kAttentionTile - 1) / kAttentionTile),
        is_backward_(tensors.dqkv.defined()),
        qkv_(data<Value>(tensors.qkv)),
        context_(mutable_data<Value>(tensors.result.context)),
        all_log_sums_(mutable_data<Value>(tensors.result.log_sums)),
        dcontext_(is_backward_ ? data<Value>(tensors.dcontext) : nullptr),
        dqkv_(is_backward_ ? mutable_data<Value>(tensors.dqkv) : nullptr) {}

  void forward() {
    run({[this](const Tile& tile) { pack(tile); }, [this](const Tile& tile) { attend(tile); }});
  }

  // With heads apart, a tile of scores is computed once and adds to all gradients. In a head that threads share it is
  // computed for the queries and again for the keys, so that one thread alone adds to each sum.
  void backward() {
    const auto pack_tile = [this](const Tile& tile) { pack_for_gradients(tile); };
    if (is_apart()) return run({pack_tile, [this](const Tile& tile) { add_up_keys(tile, Gradients::kAll); }});
    run({pack_tile, [this](const Tile& tile) { add_up_queries(tile); },
         [this](const Tile& tile) { add_up_keys(tile, Gradients::kKeysAndValues); }});
  }

 private:
  using Stage = std::function<void(const Tile&)>;
  enum Matrix : std::int64_t { kPacked, kFirstSum, kSecondSum, kMatrices };  // of a thread

  std::int64_t all_heads() const { return shape_.batch * heads_.heads; }
  std::int64_t width() const { return heads_.head_dim; }
  std::int64_t matrix_size() const { return width() * kAttentionTile; }
  std::int64_t parts() const { return is_backward_ ? kBackwardParts : kForwardParts; }
  std::int64_t sums_size() const { return matrix_size() + 2 * kAttentionTile; }
  std::int64_t scratch_size() const { return 2 * kScores + kMatrices * matrix_size() + 2 * kAttentionTile; }

  // Whether each thread takes whole heads: where that leaves few threads idle. Tiles of one head take more products.
  bool is_apart() const {
    constexpr std::int64_t kProductsApart = 5;
    constexpr std::int64_t kProductsShared = 7;
    const std::int64_t threads = at::get_num_threads();
    const std::int64_t rounds = (all_heads() + threads - 1) / threads;
    return rounds * threads * kProductsApart <= all_heads() * kProductsShared;
  }

  void run(std::initializer_list<Stage> stages) {
    const std::int64_t threads = at::get_num_threads();
    const std::int64_t places = is_apart() ? threads : all_heads();
    reuse(owner_.operands_, {places, tiles_, parts(), matrix_size()}, c10::CppTypeToScalarType<Value>::value);
    reuse(owner_.sums_, {places, tiles_, sums_size()}, c10::CppTypeToScalarType<Value>::value);
    reuse(owner_.scratch_, {threads, scratch_size()}, c10::CppTypeToScalarType<Value>::value);
    if (is_apart()) return run_heads_apart(stages);
    for (const Stage& stage : stages) run_on_tiles(stage);
  }

  void run_heads_apart(std::initializer_list<Stage> stages) {
    at::parallel_for(0, all_heads(), 1, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t thread = at::get_thread_num();
      for (std::int64_t head = begin; head < end; ++head) {
        for (const Stage& stage : stages) {
          for (std::int64_t index = 0; index < tiles_; ++index) stage({head, thread, index, thread});
        }
      }
    });
  }

  void run_on_tiles(const Stage& stage) {
    at::parallel_for(0, all_heads() * tiles_, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t head = i / tiles_;
        const std::int64_t nth = i % tiles_;
        // First, last, second, last but one: neighbours together have as many scores as any others.
        const std::int64_t index = nth % 2 == 0 ? nth / 2 : tiles_ - 1 - nth / 2;
        stage({head, head, index, at::get_thread_num()});
      }
    });
  }

  // Times of a tile, and these filled up to whole vectors, with zeros.
  std::int64_t times(const Tile& tile) const {
    return std::min(kAttentionTile, shape_.time - tile.index * kAttentionTile);
  }
  std::int64_t lanes(const Tile& tile) const { return (times(tile) + kLanes - 1) / kLanes * kLanes; }
  // Where the tile's rows begin in a matrix [rows, parts * features], in column block `part`.
  std::int64_t offset(const Tile& tile, std::int64_t part, std::int64_t parts) const {
    const std::int64_t row = tile.head / heads_.heads * shape_.time + tile.index * kAttentionTile;
    return (row * parts + part) * heads_.features() + tile.head % heads_.heads * width();
  }
  Value* log_sums_of(const Tile& tile) const {
    return all_log_sums_ + tile.head * shape_.time + tile.index * kAttentionTile;
  }

  Value* operand(const Tile& tile, Part part) const {
    const std::int64_t index = (tile.place * tiles_ + tile.index) * parts() + part;
    return mutable_data<Value>(owner_.operands_) + index * matrix_size();
  }
  // [width, lanes]: gradient of the tile's queries.
  Value* dqueries(const Tile& tile) const {
    return mutable_data<Value>(owner_.sums_) + (tile.place * tiles_ + tile.index) * sums_size();
  }
  Value* log_sums(const Tile& tile) const { return dqueries(tile) + matrix_size(); }
  Value* means(const Tile& tile) const { return log_sums(tile) + kAttentionTile; }

  Value* scores(const Tile& tile) const { return mutable_data<Value>(owner_.scratch_) + tile.thread * scratch_size(); }
  Value* dweights(const Tile& tile) const { return scores(tile) + kScores; }
  Value* matrix(const Tile& tile, Matrix which) const { return dweights(tile) + kScores + which * matrix_size(); }
  Value* maximum(const Tile& tile) const { return matrix(tile, kMatrices); }
  Value* sum(const Tile& tile) const { return maximum(tile) + kAttentionTile; }
  // The tile's rows as [lanes, width], and those as [width, lanes].
  const Value* pack_rows_of(const Tile& tile, const PackedRows<Value>& source) const {
    PackedRows<Value> rows = source;
    rows.rows = times(tile);
    rows.packed_rows = lanes(tile);
    rows.columns = width();
    pack_rows(rows);
    return rows.packed;
  }
  const Value* pack_part(const Tile& tile, std::int64_t part, Value* packed) const {
    const Value factor = part == 0 ? scale() : Value{1};
    return pack_rows_of(tile, {qkv_ + offset(tile, part, 3), 3 * heads_.features(), factor, packed, 0, 0, 0});
  }
  void pack_transposed(const Tile& tile, const Value* packed, Value* target) const {
    transpose(Transpose<Value>{packed, target, lanes(tile), width(), width(), lanes(tile)});
  }
  Value scale() const { return Value{1} / std::sqrt(static_cast<Value>(width())); }

  void pack(const Tile& tile) {
    Value* rows = matrix(tile, kPacked);
    pack_transposed(tile, pack_part(tile, 0, rows), operand(tile, kQueriesTransposed));
    pack_part(tile, 1, operand(tile, kKeys));
    pack_transposed(tile, pack_part(tile, 2, rows), operand(tile, kValues));
  }

  void pack_for_gradients(const Tile& tile) {
    const std::int64_t features = heads_.features();
    pack_transposed(tile, pack_part(tile, 0, operand(tile, kQueries)), operand(tile, kQueriesTransposed));
    pack_transposed(tile, pack_part(tile, 1, operand(tile, kKeys)), operand(tile, kKeysTransposed));
    pack_part(tile, 2, operand(tile, kValues));
    const Value* dcontext = dcontext_ + offset(tile, 0, 1);
    Value* packed = operand(tile, kDcontext);
    pack_transposed(tile, pack_rows_of(tile, {dcontext, features, Value{1}, packed, 0, 0, 0}),
                    operand(tile, kDcontextTransposed));
    std::fill_n(log_sums(tile), 2 * kAttentionTile, Value{0});
    std::copy_n(log_sums_of(tile), times(tile), log_sums(tile));
    row_products(
        RowProducts<Value>{dcontext, context_ + offset(tile, 0, 1), features, means(tile), times(tile), width()});
  }

  // c = left right, or c += left right; all contiguous, c [rows, columns].
  struct Factors {
    const Value* left;   // [rows, inner]
    const Value* right;  // [inner, columns]
  };
  struct Sizes {
    std::int64_t rows;
    std::int64_t columns;
    std::int64_t inner;
  };
  static void multiply(const Factors& factors, Value* c, const Sizes& sizes, Accumulate accumulate) {
    multiply_tile(TileProduct<Value>{factors.left, sizes.inner, factors.right, sizes.columns, c, sizes.columns,
                                     sizes.rows, sizes.columns, sizes.inner},
                  accumulate);
  }

  static TileTimes relation(const Tile& keys, const Tile& queries) {
    return keys.index == queries.index ? TileTimes::kSame : TileTimes::kBefore;
  }

  void attend(const Tile& queries) {
    const std::int64_t columns = lanes(queries);
    Value* context = matrix(queries, kFirstSum);  // [width, columns]
    std::fill_n(context, width() * columns, Value{0});
    std::fill_n(maximum(queries), columns, std::numeric_limits<Value>::lowest());
    std::fill_n(sum(queries), columns, Value{0});
    for (std::int64_t index = 0; index <= queries.index; ++index) {
      const Tile keys = queries.other(index);
      multiply({operand(keys, kKeys), operand(queries, kQueriesTransposed)}, scores(queries),
               {lanes(keys), columns, width()}, Accumulate::kNo);
      weights_tile(WeightsTile<Value>{scores(queries), maximum(queries), sum(queries), context, lanes(keys), columns,
                                      width(), relation(keys, queries)});
      multiply({operand(keys, kValues), scores(queries)}, context, {width(), columns, lanes(keys)}, Accumulate::kYes);
    }
    finish_tile(FinishedTile<Value>{context, maximum(queries), sum(queries), columns, width()});
    std::copy_n(sum(queries), times(queries), log_sums_of(queries));
    transpose(Transpose<Value>{context, context_ + offset(queries, 0, 1), width(), times(queries), columns,
                               heads_.features()});
  }

  // Weights and gradients of the scores of a tile of keys against one of queries, into scores() and dweights().
  void weigh(const Tile& keys, const Tile& queries) {
    const Sizes sizes = {lanes(keys), lanes(queries), width()};
    multiply({operand(keys, kKeys), operand(queries, kQueriesTransposed)}, scores(keys), sizes, Accumulate::kNo);
    multiply({operand(keys, kValues), operand(queries, kDcontextTransposed)}, dweights(keys), sizes, Accumulate::kNo);
    gradient_tile(GradientTile<Value>{scores(keys), dweights(keys), log_sums(queries), means(queries), lanes(keys),
                                      lanes(queries), relation(keys, queries)});
  }

  void add_to_queries(const Tile& keys, const Tile& queries) {
    multiply({operand(keys, kKeysTransposed), dweights(keys)}, dqueries(queries),
             {width(), lanes(queries), lanes(keys)}, keys.index > 0 ? Accumulate::kYes : Accumulate::kNo);
    if (keys.index < queries.index) return;
    Value* sums = dqueries(queries);
    const Value factor = scale();
    for (std::int64_t i = 0; i < width() * lanes(queries); ++i) sums[i] *= factor;
    transpose(Transpose<Value>{sums, dqkv_ + offset(queries, 0, 3), width(), times(queries), lanes(queries),
                               3 * heads_.features()});
  }

  void add_to_keys_and_values(const Tile& keys, const Tile& queries) {
    const Sizes sizes = {lanes(keys), width(), lanes(queries)};
    const Accumulate accumulate = queries.index > keys.index ? Accumulate::kYes : Accumulate::kNo;
    multiply({dweights(keys), operand(queries, kQueries)}, matrix(keys, kFirstSum), sizes, accumulate);
    multiply({scores(keys), operand(queries, kDcontext)}, matrix(keys, kSecondSum), sizes, accumulate);
  }

  void add_up_queries(const Tile& queries) {
    for (std::int64_t index = 0; index <= queries.index; ++index) {
      weigh(queries.other(index), queries);
      add_to_queries(queries.other(index), queries);
    }
  }

  void add_up_keys(const Tile& keys, Gradients gradients) {
    for (std::int64_t index = keys.index; index < tiles_; ++index) {
      const Tile queries = keys.other(index);
      weigh(keys, queries);
      if (gradients == Gradients::kAll) add_to_queries(keys, queries);
      add_to_keys_and_values(keys, queries);
    }
    const std::int64_t stride = 3 * heads_.features();
    for (std::int64_t row = 0; row < times(keys); ++row) {
      std::copy_n(matrix(keys, kFirstSum) + row * width(), width(), dqkv_ + offset(keys, 1, 3) + row * stride);
      std::copy_n(matrix(keys, kSecondSum) + row * width(), width(), dqkv_ + offset(keys, 2, 3) + row * stride);
    }
  }

  TiledAttention& owner_;
  SequenceShape shape_;
  HeadShape heads_;
  std::int64_t tiles_;  // of a sequence
  bool is_backward_;
  const Value* qkv_;     // [rows, 3 * features]
  Value* context_;       // [rows, features]
  Value* all_log_sums_;  // [batch, heads, time]
  const Value* dcontext_;
  Value* dqkv_;
};

bool TiledAttention::is_faster(std::int64_t time, std::int64_t head_dim) {
  const std::int64_t long_time = lanes_are_a_register() ? kLongTime : kLongTimeOfHalfRegisters;
  return head_dim >= kWideHead || time >= long_time;
}

void TiledAttention::forward(const at::Tensor& qkv, SequenceShape shape, HeadShape heads,
                             const Operations::AttentionResult& result) {
  AT_DISPATCH_FLOATING_TYPES(qkv.scalar_type(), "attention", [&] {
    Sweep<scalar_t>(*this, {qkv, result, {}, {}}, shape, heads).forward();
  });
}

void TiledAttention::backward(const Operations::AttentionGradient& gradient, SequenceShape shape, HeadShape heads) {
  AT_DISPATCH_FLOATING_TYPES(gradient.qkv.scalar_type(), "attention_backward",
                             [&] { Sweep<scalar_t>(*this, gradient, shape, heads).backward(); });
}

}  // namespace kangpt::operations::cpu
