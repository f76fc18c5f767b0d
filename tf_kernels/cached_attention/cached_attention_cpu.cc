// A piece of work is one key and value head of one text, with all the query heads that read it. Its
// scores are made first, a vector of keys at a time, and stay in the cache until the values pass
// by.
#include "attention/attention_pack.h"
#include "cached_attention/cached_attention_dispatch.h"
#include "common/vec_math.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

constexpr float kInfinity = __builtin_inff();
constexpr int kQueryBlock = 4;  // queries at a time
constexpr int kUnroll = 4;      // keys at a time, and vectors of a value

// products[r][j] = the sum over each lane's elements of query[r] * keys[j].
template <int kQueries, int kKeys, class T>
inline __attribute__((always_inline)) void dot_products(const float* query, int64_t padded,
                                                        const T* keys, int64_t dim, Vec* products) {
  Vec sums[kQueries][kKeys];
#pragma GCC unroll 4
  for (int r = 0; r < kQueries; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kKeys; ++j) sums[r][j] = Vec{};
  }
  for_each_vec(dim, [&](int64_t k, int64_t count) KERASLLM_INLINE {
    Vec rows[kKeys];
#pragma GCC unroll 4
    for (int j = 0; j < kKeys; ++j) rows[j] = load_first(keys + j * dim + k, count);
#pragma GCC unroll 4
    for (int r = 0; r < kQueries; ++r) {
      const Vec value = load(query + r * padded + k);  // zeros behind the row
#pragma GCC unroll 4
      for (int j = 0; j < kKeys; ++j) sums[r][j] += value * rows[j];
    }
  });
#pragma GCC unroll 4
  for (int r = 0; r < kQueries; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kKeys; ++j) products[r * kLanes + j] = sums[r][j];
  }
}

// The scores of keys [first, end) for a block of queries; scores[r][j - first] in whole vectors,
// minus infinity behind the last.
template <int kQueries, class T>
void make_scores(const float* query, int64_t padded, const T* keys, int64_t dim, int64_t count,
                 float scale, float* scores, int64_t stride) {
  for (int64_t c = 0; c < count; c += kLanes) {
    const int64_t width = min_of<int64_t>(kLanes, count - c);
    Vec products[kQueries * kLanes];
    for (int i = 0; i < kQueries * kLanes; ++i) products[i] = Vec{};
    int64_t j = 0;
    for (; j + kUnroll <= width; j += kUnroll) {
      dot_products<kQueries, kUnroll>(query, padded, keys + (c + j) * dim, dim, products + j);
    }
    for (; j < width; ++j) {
      dot_products<kQueries, 1>(query, padded, keys + (c + j) * dim, dim, products + j);
    }
    for (int r = 0; r < kQueries; ++r) {
      Vec* const lanes = products + r * kLanes;
      transpose(lanes);
      Vec sum = lanes[0];
      for (int i = 1; i < kLanes; ++i) sum += lanes[i];
      float* const to = scores + r * stride + c;
      store(to, sum * scale);
      for (int64_t i = width; i < kLanes; ++i) to[i] = -kInfinity;
    }
  }
}

// Scores become probabilities, not yet divided by their sum, which is returned. NaN stays NaN.
inline float exponentiate(float* scores, int64_t count) {
  Vec top = load(scores);
  for (int64_t c = kLanes; c < count; c += kLanes) top = max_vec(load(scores + c), top);
  const Vec reference = broadcast(max_of_lanes(top));
  Vec sum = {};
  for (int64_t c = 0; c < count; c += kLanes) {
    const Vec p = exp_vec(load(scores + c) - reference);
    sum += p;
    store(scores + c, p);
  }
  return sum_of_lanes(sum);
}

// outputs[r] = sum over j of probabilities[r][j] * values[j] / totals[r], for kVecs vectors.
template <int kQueries, int kVecs, class T>
inline __attribute__((always_inline)) void weigh(const float* probabilities, int64_t stride,
                                                 const float* totals, const T* values, int64_t dim,
                                                 int64_t count, T* outputs, int64_t d,
                                                 int64_t lanes) {
  Vec sums[kQueries][kVecs];
#pragma GCC unroll 4
  for (int r = 0; r < kQueries; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) sums[r][v] = Vec{};
  }
  for (int64_t j = 0; j < count; ++j) {
    Vec row[kVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      const T* const from = values + j * dim + d + v * kLanes;
      row[v] = lanes < kLanes ? load_first(from, lanes) : load(from);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kQueries; ++r) {
      const Vec p = broadcast(probabilities[r * stride + j]);
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) sums[r][v] += p * row[v];
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kQueries; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      store_first(outputs + r * dim + d + v * kLanes, sums[r][v] * (1.0f / totals[r]), lanes);
    }
  }
}

template <int kQueries, class T>
void attend(const float* query, int64_t padded, const T* keys, const T* values, int64_t dim,
            int64_t count, float scale, float* scores, int64_t stride, T* outputs) {
  make_scores<kQueries>(query, padded, keys, dim, count, scale, scores, stride);
  float totals[kQueries];
  for (int r = 0; r < kQueries; ++r) {
    totals[r] = exponentiate(scores + r * stride, round_up(count, kLanes));
  }
  int64_t d = 0;
  for (; d + kUnroll * kLanes <= dim; d += kUnroll * kLanes) {
    weigh<kQueries, kUnroll>(scores, stride, totals, values, dim, count, outputs, d, kLanes);
  }
  for (; d < dim; d += kLanes) {
    weigh<kQueries, 1>(scores, stride, totals, values, dim, count, outputs, d,
                       min_of<int64_t>(kLanes, dim - d));
  }
}

template <class T>
void run_piece(const CachedAttention<T>& args, int64_t piece, int64_t padded, int64_t stride,
               float* query, float* scores) {
  const CachedAttentionShape& s = args.shape;
  const int64_t group = s.num_heads / s.num_key_value_heads;
  const int64_t batch = piece / s.num_key_value_heads, head = piece % s.num_key_value_heads;
  for (int64_t i = 0; i < s.query_length; ++i) {
    const int64_t place = args.start + i;
    int64_t first = args.first_key == nullptr ? 0 : max_of<int64_t>(0, args.first_key[batch]);
    if (args.window > 0) first = max_of(first, place - args.window + 1);
    const int64_t count = place + 1 - first;
    const int64_t row = ((batch * s.query_length + i) * s.num_heads + head * group) * s.head_dim;
    if (count <= 0) {
      __builtin_memset(static_cast<void*>(args.outputs + row), 0, group * s.head_dim * sizeof(T));
      continue;
    }
    const int64_t cache = (piece * s.max_length + first) * s.head_dim;
    for (int64_t g = 0; g < group; g += kQueryBlock) {
      const int64_t queries = min_of<int64_t>(kQueryBlock, group - g);
      for (int64_t r = 0; r < queries; ++r) {
        for (int64_t k = 0; k < padded; k += kLanes) {
          store(query + r * padded + k, load_first(args.query + row + (g + r) * s.head_dim + k,
                                                   max_of<int64_t>(0, s.head_dim - k)));
        }
      }
      T* const outputs = args.outputs + row + g * s.head_dim;
      switch (queries) {
#define KERASLLM_QUERIES(n)                                                                       \
  case n:                                                                                         \
    attend<n>(query, padded, args.key_cache + cache, args.value_cache + cache, s.head_dim, count, \
              args.scale, scores, stride, outputs);                                               \
    break;
        KERASLLM_QUERIES(1)
        KERASLLM_QUERIES(2)
        KERASLLM_QUERIES(3)
        KERASLLM_QUERIES(4)
#undef KERASLLM_QUERIES
      }
    }
  }
}

template <class T>
void forward(const CachedAttention<T>& args, Parallel& parallel) {
  const CachedAttentionShape& s = args.shape;
  const int64_t pieces = s.batch * s.num_key_value_heads;
  if (pieces * s.query_length * s.num_heads * s.head_dim == 0) return;
  const int64_t padded = round_up(s.head_dim, kLanes);
  const int64_t stride = round_up(args.start + s.query_length, kLanes);
  const int64_t query_bytes = kQueryBlock * padded * sizeof(float);
  const int64_t score_bytes = kQueryBlock * stride * sizeof(float);
  // Work that is done before other threads have woken up stays on this one.
  constexpr int64_t kThreadWork = 1 << 17;
  const int64_t work = s.batch * s.query_length * s.num_heads * stride * s.head_dim;
  const int64_t workers =
      min_of(min_of<int64_t>(parallel.num_threads(), pieces), 1 + work / kThreadWork);
  int64_t next = 0;
  parallel.for_each(workers, [&](int64_t) {
    Scratch scratch(Scratch::rounded(query_bytes) + Scratch::rounded(score_bytes));
    float* const query = static_cast<float*>(scratch.take(query_bytes));
    float* const scores = static_cast<float*>(scratch.take(score_bytes));
    for (int64_t piece; (piece = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < pieces;) {
      run_piece(args, piece, padded, stride, query, scores);
    }
  });
}

}  // namespace

extern const CachedAttentionKernels cached_attention_kernels = {&forward<float>,
                                                                &forward<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
