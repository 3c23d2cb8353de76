// Attention kernels: one sequence, head by head. Lanes are 16 queries (or, for the gradients of keys and values, 16
// keys), so that no sum runs across lanes. Scores are computed anew in the backward pass (Dao et al., FlashAttention,
// 2022).
#include <algorithm>
#include <limits>

#include "operations/cpu/kernels.hpp"
#include "operations/cpu/vector_math.hpp"

namespace kangpt::operations::cpu {
namespace {

// Times in whole vectors: with zeros behind the end no kernel needs a loop for what is left over.
constexpr std::int64_t padded_time(std::int64_t time) {
  return (time + kLanes - 1) / kLanes * kLanes;
}

// One head of one sequence. Matrices are [head_dim, padded]: row j is feature j at all times, then zeros. Heads are
// narrow, 2 features in the reference: along the features most lanes would be empty, along the times all are full.
template <class T>
struct Head {
  T* query;  // divided by sqrt(head_dim)
  T* key;
  T* value;
  T* context;
  T* dcontext;
  T* gradient;  // of the query, key or value
  T* log_sums;  // [padded]: of each query, log of the sum of exp(score)
  T* means;     // [padded]: of each query, dcontext . context
  T* weights;   // [padded, kLanes]
  std::int64_t time;
  std::int64_t padded;
  std::int64_t head_dim;
};

template <class T>
KANGPT_INLINE Head<T> head_in(const Attention<T>& a) {
  const std::int64_t padded = padded_time(a.time);
  const std::int64_t matrix = a.head_dim * padded;
  T* vectors = a.scratch + 6 * matrix;
  return {a.scratch,
          a.scratch + matrix,
          a.scratch + 2 * matrix,
          a.scratch + 3 * matrix,
          a.scratch + 4 * matrix,
          a.scratch + 5 * matrix,
          vectors,
          vectors + padded,
          vectors + 2 * padded,
          a.time,
          padded,
          a.head_dim};
}

// target[j, t] = source[t * stride + j] * factor.
template <class T>
KANGPT_INLINE void gather(const T* source, std::int64_t stride, T factor, const Head<T>& head, T* target) {
  for (std::int64_t j = 0; j < head.head_dim; ++j) {
    T* row = target + j * head.padded;
    for (std::int64_t t = 0; t < head.time; ++t) row[t] = source[t * stride + j] * factor;
    for (std::int64_t t = head.time; t < head.padded; ++t) row[t] = 0;
  }
}

template <class T>
KANGPT_INLINE void scatter(const T* source, std::int64_t stride, const Head<T>& head, T* target) {
  for (std::int64_t j = 0; j < head.head_dim; ++j) {
    for (std::int64_t t = 0; t < head.time; ++t) target[t * stride + j] = source[j * head.padded + t];
  }
}

template <class T>
KANGPT_INLINE void load_query_key_value(const Attention<T>& a, std::int64_t h, const Head<T>& head) {
  const std::int64_t features = a.heads * a.head_dim;
  const T* query = a.qkv + h * a.head_dim;
  gather(query, 3 * features, T{1} / std::sqrt(static_cast<T>(a.head_dim)), head, head.query);
  gather(query + features, 3 * features, T{1}, head, head.key);
  gather(query + 2 * features, 3 * features, T{1}, head, head.value);
}

// Lane l: sum_j lanes[j, first + l] single[j, index].
template <class T>
KANGPT_INLINE Vector<T> dot(const T* lanes, std::int64_t first, const T* single, std::int64_t index,
                            const Head<T>& head) {
  Vector<T> sum = load(lanes + first) * single[index];
  for (std::int64_t j = 1; j < head.head_dim; ++j) {
    sum += load(lanes + j * head.padded + first) * single[j * head.padded + index];
  }
  return sum;
}

// For each feature j: target[j, first + l] = sum over i in [begin, end) of weights[i, l] single[j, i].
template <class T>
KANGPT_INLINE void accumulate(const T* single, std::int64_t begin, std::int64_t end, const Head<T>& head, T* target,
                              std::int64_t first) {
  for (std::int64_t j = 0; j < head.head_dim; ++j) {
    Vector<T> sum = {};
    for (std::int64_t i = begin; i < end; ++i) sum += load(head.weights + i * kLanes) * single[j * head.padded + i];
    store(sum, target + j * head.padded + first);
  }
}

template <class T>
KANGPT_INLINE Vector<T> lane_numbers() {
  Vector<T> numbers = {};
  for (std::int64_t lane = 0; lane < kLanes; ++lane) numbers[lane] = static_cast<T>(lane);
  return numbers;
}

// Scores of 16 queries from `first` on against key s; future keys get the lowest number, which can't become the
// maximum. Only the last 16 keys need that: those before are in the past of all 16 queries.
template <class T>
KANGPT_INLINE Vector<T> query_scores(std::int64_t first, std::int64_t s, const Head<T>& head) {
  const Vector<T> score = dot(head.query, first, head.key, s, head);
  if (s <= first) return score;
  return lane_numbers<T>() < static_cast<T>(s - first) ? score * 0 - std::numeric_limits<T>::max() : score;
}

template <class T>
KANGPT_INLINE void forward_of_queries(std::int64_t first, const Head<T>& head) {
  const std::int64_t end = first + kLanes < head.time ? first + kLanes : head.time;
  Vector<T> maximum = query_scores(first, 0, head);
  store(maximum, head.weights);
  for (std::int64_t s = 1; s < end; ++s) {
    const Vector<T> score = query_scores(first, s, head);
    maximum = score > maximum ? score : maximum;
    store(score, head.weights + s * kLanes);
  }
  Vector<T> sum = {};
  for (std::int64_t s = 0; s < end; ++s) {
    Vector<T> e = exponential(load(head.weights + s * kLanes) - maximum);
    if (s > first) e = lane_numbers<T>() < static_cast<T>(s - first) ? e * 0 : e;
    sum += e;
    store(e, head.weights + s * kLanes);
  }
  accumulate(head.value, 0, end, head, head.context, first);
  for (std::int64_t j = 0; j < head.head_dim; ++j) {
    T* context = head.context + j * head.padded + first;
    store(load(context) / sum, context);
  }
  for (std::int64_t lane = 0; lane < kLanes; ++lane) head.log_sums[first + lane] = maximum[lane] + std::log(sum[lane]);
}

template <class T>
KANGPT_INLINE void attention_body(const Attention<T>& a) {
  const Head<T> head = head_in(a);
  for (std::int64_t h = 0; h < a.heads; ++h) {
    load_query_key_value(a, h, head);
    for (std::int64_t first = 0; first < a.time; first += kLanes) forward_of_queries(first, head);
    scatter(head.context, a.heads * a.head_dim, head, a.context + h * a.head_dim);
    std::copy_n(head.log_sums, a.time, a.log_sums + h * a.time);
  }
}

// Gradient of 16 queries: dscore = weight (dcontext . value - mean), dquery = sum over keys of dscore key.
template <class T>
KANGPT_INLINE void backward_of_queries(std::int64_t first, const Head<T>& head) {
  const std::int64_t end = first + kLanes < head.time ? first + kLanes : head.time;
  const Vector<T> log_sum = load(head.log_sums + first);
  const Vector<T> mean = load(head.means + first);
  for (std::int64_t s = 0; s < end; ++s) {
    Vector<T> weight = exponential(dot(head.query, first, head.key, s, head) - log_sum);
    if (s > first) weight = lane_numbers<T>() < static_cast<T>(s - first) ? weight * 0 : weight;
    const Vector<T> dscore = weight * (dot(head.dcontext, first, head.value, s, head) - mean);
    store(dscore, head.weights + s * kLanes);
  }
  accumulate(head.key, 0, end, head, head.gradient, first);
}

enum class Of { kKeys, kValues };

// Gradient of 16 keys (sum over queries of dscore query) or 16 values (sum over queries of weight dcontext). Lanes are
// keys here, and each key's sum runs over the queries in order: were lanes queries, 16 of them would add to the same
// key, a sum across lanes for every pair. The price is that the exponentials are computed once more.
template <class T>
KANGPT_INLINE void backward_of(Of what, std::int64_t first, const Head<T>& head) {
  for (std::int64_t t = first; t < head.time; ++t) {
    Vector<T> weight = exponential(dot(head.key, first, head.query, t, head) - head.log_sums[t]);
    if (t < first + kLanes) weight = lane_numbers<T>() > static_cast<T>(t - first) ? weight * 0 : weight;
    if (what == Of::kKeys) weight *= dot(head.value, first, head.dcontext, t, head) - head.means[t];
    store(weight, head.weights + t * kLanes);
  }
  accumulate(what == Of::kKeys ? head.query : head.dcontext, first, head.time, head, head.gradient, first);
}

template <class T>
KANGPT_INLINE void attention_backward_body(const Attention<T>& a) {
  const std::int64_t features = a.heads * a.head_dim;
  const T scale = T{1} / std::sqrt(static_cast<T>(a.head_dim));
  const Head<T> head = head_in(a);
  for (std::int64_t h = 0; h < a.heads; ++h) {
    T* dquery = a.dqkv + h * a.head_dim;
    load_query_key_value(a, h, head);
    std::copy_n(a.log_sums + h * a.time, a.time, head.log_sums);
    std::fill(head.log_sums + a.time, head.log_sums + head.padded, T{0});
    gather(a.context + h * a.head_dim, features, T{1}, head, head.context);
    gather(a.dcontext + h * a.head_dim, features, T{1}, head, head.dcontext);
    for (std::int64_t first = 0; first < a.time; first += kLanes) {
      Vector<T> mean = {};
      for (std::int64_t j = 0; j < a.head_dim; ++j) {
        mean += load(head.dcontext + j * head.padded + first) * load(head.context + j * head.padded + first);
      }
      store(mean, head.means + first);
      backward_of_queries(first, head);
    }
    for (std::int64_t i = 0; i < head.head_dim * head.padded; ++i) head.gradient[i] *= scale;
    scatter(head.gradient, 3 * features, head, dquery);
    for (std::int64_t first = 0; first < a.time; first += kLanes) backward_of(Of::kKeys, first, head);
    scatter(head.gradient, 3 * features, head, dquery + features);
    for (std::int64_t first = 0; first < a.time; first += kLanes) backward_of(Of::kValues, first, head);
    scatter(head.gradient, 3 * features, head, dquery + 2 * features);
  }
}

}  // namespace

bool lanes_are_a_register() {
#if defined(__x86_64__)
  return processor_level() == 4;
#else
  return false;
#endif
}

std::int64_t attention_scratch_size(std::int64_t time, std::int64_t head_dim) {
  return (6 * head_dim + 2 + kLanes) * padded_time(time);
}

KANGPT_VERSIONS(attention, Attention<float>, attention_body<float>)
void attention(const Attention<double>& a) {
  attention_body(a);
}
KANGPT_VERSIONS(attention_backward, Attention<float>, attention_backward_body<float>)
void attention_backward(const Attention<double>& a) {
  attention_backward_body(a);
}

}  // namespace kangpt::operations::cpu
