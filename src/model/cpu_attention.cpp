// Attention kernels: one sequence, head by head, score rows padded to whole vectors.
#include "model/cpu_kernels.hpp"
#include "model/cpu_vector_math.hpp"

namespace kangpt::model::kernels {
namespace {

constexpr std::int64_t kLanes = 16;

// One head of one sequence, feature-major: row j of a matrix is feature j at all times, padded with zeros.
template <class T>
struct Head {
  T* key;      // [head_dim, padded]
  T* value;    // [head_dim, padded]
  T* dkey;     // [head_dim, padded]
  T* dvalue;   // [head_dim, padded]
  T* weights;  // [padded]
  T* scores;   // [padded]
  std::int64_t padded;
  std::int64_t head_dim;
};

constexpr std::int64_t padded_time(std::int64_t time) {
  return (time + kLanes - 1) / kLanes * kLanes;
}

template <class T>
KANGPT_INLINE Head<T> head_in(T* scratch, std::int64_t time, std::int64_t head_dim) {
  const std::int64_t padded = padded_time(time);
  const std::int64_t matrix = head_dim * padded;
  return {scratch,
          scratch + matrix,
          scratch + 2 * matrix,
          scratch + 3 * matrix,
          scratch + 4 * matrix,
          scratch + 4 * matrix + padded,
          padded,
          head_dim};
}

template <class T>
KANGPT_INLINE void load(const T* source, std::int64_t stride, std::int64_t time, const Head<T>& head, T* target) {
  for (std::int64_t j = 0; j < head.head_dim; ++j) {
    T* row = target + j * head.padded;
    for (std::int64_t t = 0; t < time; ++t) row[t] = source[t * stride + j];
    for (std::int64_t t = time; t < head.padded; ++t) row[t] = 0;
  }
}

// head.scores[s] = sum_j vector[j] matrix[j, s] for s < width, a multiple of kLanes.
template <class T>
KANGPT_INLINE void project(const T* vector, const T* matrix, const Head<T>& head, std::int64_t width) {
#pragma omp simd
  for (std::int64_t s = 0; s < width; ++s) head.scores[s] = vector[0] * matrix[s];
  for (std::int64_t j = 1; j < head.head_dim; ++j) {
    const T* row = matrix + j * head.padded;
#pragma omp simd
    for (std::int64_t s = 0; s < width; ++s) head.scores[s] += vector[j] * row[s];
  }
}

template <class T>
KANGPT_INLINE T dot(const T* a, const T* b, std::int64_t width) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t s = 0; s < width; ++s) sum += a[s] * b[s];
  return sum;
}

// head.weights[s] = softmax over s <= t of query . key[s] / sqrt(head_dim), exactly 0 for s > t.
template <class T>
KANGPT_INLINE void softmax_row(const T* query, std::int64_t t, T scale, const Head<T>& head) {
  const std::int64_t width = padded_time(t + 1);
  project(query, head.key, head, width);
  T maximum = head.scores[0];
#pragma omp simd reduction(max : maximum)
  for (std::int64_t s = 0; s < width; ++s) {
    const T score = s <= t ? head.scores[s] : head.scores[0];
    maximum = score > maximum ? score : maximum;
  }
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t s = 0; s < width; ++s) {
    const T e = exponential((head.scores[s] - maximum) * scale);
    head.weights[s] = s <= t ? e : T{0};
    sum += head.weights[s];
  }
  const T inverse = T{1} / sum;
#pragma omp simd
  for (std::int64_t s = 0; s < width; ++s) head.weights[s] *= inverse;
}

template <class T>
KANGPT_INLINE void attention_body(const Attention<T>& a) {
  const std::int64_t features = a.heads * a.head_dim;
  const T scale = T{1} / std::sqrt(static_cast<T>(a.head_dim));
  const Head<T> head = head_in(a.scratch, a.time, a.head_dim);
  for (std::int64_t h = 0; h < a.heads; ++h) {
    const T* query = a.qkv + h * a.head_dim;
    load(query + features, 3 * features, a.time, head, head.key);
    load(query + 2 * features, 3 * features, a.time, head, head.value);
    for (std::int64_t t = 0; t < a.time; ++t) {
      softmax_row(query + t * 3 * features, t, scale, head);
      T* context = a.context + t * features + h * a.head_dim;
      const std::int64_t width = padded_time(t + 1);
      for (std::int64_t j = 0; j < a.head_dim; ++j) {
        context[j] = dot(head.weights, head.value + j * head.padded, width);
      }
    }
  }
}

template <class T>
KANGPT_INLINE void clear(T* values, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) values[i] = 0;
}

template <class T>
KANGPT_INLINE void store(const T* source, const Head<T>& head, std::int64_t time, std::int64_t stride, T* target) {
  for (std::int64_t j = 0; j < head.head_dim; ++j) {
    for (std::int64_t t = 0; t < time; ++t) target[t * stride + j] = source[j * head.padded + t];
  }
}

// Adds the gradients of one query's row to head.dkey and head.dvalue and writes dquery.
// dscore[s] = weight[s] (dcontext . value[s] - dcontext . context).
template <class T>
KANGPT_INLINE void attention_row_backward(const T* query, const T* dcontext, T mean, const Head<T>& head, T scale,
                                          std::int64_t width, T* dquery) {
  project(dcontext, head.value, head, width);
#pragma omp simd
  for (std::int64_t s = 0; s < width; ++s) head.scores[s] = head.weights[s] * (head.scores[s] - mean) * scale;
  for (std::int64_t j = 0; j < head.head_dim; ++j) {
    T* dkey = head.dkey + j * head.padded;
    T* dvalue = head.dvalue + j * head.padded;
    dquery[j] = dot(head.scores, head.key + j * head.padded, width);
#pragma omp simd
    for (std::int64_t s = 0; s < width; ++s) {
      dkey[s] += head.scores[s] * query[j];
      dvalue[s] += head.weights[s] * dcontext[j];
    }
  }
}

template <class T>
KANGPT_INLINE void attention_backward_body(const Attention<T>& a) {
  const std::int64_t features = a.heads * a.head_dim;
  const std::int64_t stride = 3 * features;
  const T scale = T{1} / std::sqrt(static_cast<T>(a.head_dim));
  const Head<T> head = head_in(a.scratch, a.time, a.head_dim);
  for (std::int64_t h = 0; h < a.heads; ++h) {
    const T* query = a.qkv + h * a.head_dim;
    T* dquery = a.dqkv + h * a.head_dim;
    load(query + features, stride, a.time, head, head.key);
    load(query + 2 * features, stride, a.time, head, head.value);
    clear(head.dkey, 2 * head.head_dim * head.padded);
    for (std::int64_t t = 0; t < a.time; ++t) {
      const T* dcontext = a.dcontext + t * features + h * a.head_dim;
      const T mean = dot(dcontext, a.context + t * features + h * a.head_dim, a.head_dim);
      softmax_row(query + t * stride, t, scale, head);
      attention_row_backward(query + t * stride, dcontext, mean, head, scale, padded_time(t + 1), dquery + t * stride);
    }
    store(head.dkey, head, a.time, stride, dquery + features);
    store(head.dvalue, head, a.time, stride, dquery + 2 * features);
  }
}

}  // namespace

std::int64_t attention_scratch_size(std::int64_t time, std::int64_t head_dim) {
  return (4 * head_dim + 2) * padded_time(time);
}

KANGPT_VERSIONS void attention(const Attention<float>& a) {
  attention_body(a);
}
void attention(const Attention<double>& a) {
  attention_body(a);
}
KANGPT_VERSIONS void attention_backward(const Attention<float>& a) {
  attention_backward_body(a);
}
void attention_backward(const Attention<double>& a) {
  attention_backward_body(a);
}

}  // namespace kangpt::model::kernels
