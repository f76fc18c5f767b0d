// A row at a time: its first pass brings it into the cache, the others find it there, so memory is
// read and written once.
#include "common/column_sums.h"
#include "common/random.h"
#include "common/streaming.h"
#include "layer_norm/layer_norm_dispatch.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

struct Pair {
  Vec first, second;
};
struct Sums {
  float first, second;
};

// Sums over a row of what term(i, count) gives for each of its vectors, in four chains, as an
// addition waits for the one before it.
template <class Term>
inline Sums row_sums(int64_t dim, const Term& term) {
  constexpr int64_t kChains = 4;
  Pair sums[kChains] = {};
  int64_t i = 0;
  for (; i + kChains * kLanes <= dim; i += kChains * kLanes) {
    for (int64_t chain = 0; chain < kChains; ++chain) {
      const Pair terms = term(i + chain * kLanes, int64_t{kLanes});
      sums[chain].first += terms.first;
      sums[chain].second += terms.second;
    }
  }
  for (; i < dim; i += kLanes) {
    const Pair terms = term(i, min_of(int64_t{kLanes}, dim - i));
    sums[0].first += terms.first;
    sums[0].second += terms.second;
  }
  return {sum_of_lanes((sums[0].first + sums[1].first) + (sums[2].first + sums[3].first)),
          sum_of_lanes((sums[0].second + sums[1].second) + (sums[2].second + sums[3].second))};
}

// v in the first `count` lanes, zero in the others.
inline Vec first_lanes(Vec v, int64_t count) {
  if (count >= kLanes) return v;
  float lanes[kLanes];
  store(lanes, v);
  return load_first(lanes, count);
}

// What the elements of a row are multiplied by for dropout, a block of kRandomColumns at a time:
// body(i, count, factors) for each vector.
template <class Body>
inline void for_each_dropped(const LayerNormShape& shape, int64_t row, const Body& body) {
  for (int64_t column = 0; column < shape.dim; column += kRandomColumns) {
    uint16_t bits[kRandomColumns];
    random_bits(shape.dropout.seed, static_cast<uint64_t>(row), column, bits);
    const int64_t end = min_of(shape.dim, column + kRandomColumns);
    for (int64_t i = column; i < end; i += kLanes) {
      body(i, end - i, dropout_factors(bits + i - column, shape.dropout));
    }
  }
}

template <class T>
void add_row(const LayerNormForward<T>& args, int64_t row, T* sum) {
  const int64_t dim = args.shape.dim;
  const T* const inputs = args.inputs + row * dim;
  const T* const residual = args.residual + row * dim;
  if (args.shape.dropout.threshold == 0) {
    for_each_vec(dim, [=](int64_t i, int64_t count) KERASLLM_INLINE {
      store_first(sum + i, load_first(residual + i, count) + load_first(inputs + i, count), count);
    });
    return;
  }
  const bool add = args.residual != nullptr;
  for_each_dropped(args.shape, row, [=](int64_t i, int64_t count, Vec factors) KERASLLM_INLINE {
    const Vec kept = load_first(inputs + i, count) * factors;
    store_first(sum + i, add ? load_first(residual + i, count) + kept : kept, count);
  });
}

// The mean and the variance in two passes. The second corrects the first's rounding (Chan, Golub
// and LeVeque, Algorithms for Computing the Sample Variance, 1983): for means far larger than the
// deviation.
template <class T>
Sums mean_and_variance(const T* values, int64_t dim) {
  const float scale = 1.0f / static_cast<float>(dim);
  const float mean = scale * row_sums(dim, [=](int64_t i, int64_t count) KERASLLM_INLINE {
                               return Pair{load_first(values + i, count), Vec{}};
                             }).first;
  const Sums about = row_sums(dim, [=](int64_t i, int64_t count) KERASLLM_INLINE {
    const Vec distance = first_lanes(load_first(values + i, count) - mean, count);
    return Pair{distance, distance * distance};
  });
  const float shift = about.first * scale;
  const float variance = about.second * scale - shift * shift;
  return {mean + shift, variance < 0.0f ? 0.0f : variance};
}

template <class T>
Sums zero_and_mean_square(const T* values, int64_t dim) {
  const Sums sums = row_sums(dim, [=](int64_t i, int64_t count) KERASLLM_INLINE {
    const Vec v = load_first(values + i, count);
    return Pair{v * v, Vec{}};
  });
  return {0.0f, sums.first / static_cast<float>(dim)};
}

// Which results are streamed. The sum is read again and again: it waits in a buffer then.
struct Streams {
  bool outputs, sum;
};
template <class T>
Streams streams_of(const LayerNormForward<T>& args) {
  const auto is_streamed = [&](const T* result) {
    return result != nullptr && result != args.inputs && result != args.residual &&
           worth_streaming_at_once(result, args.shape.rows, args.shape.dim);
  };
  return {is_streamed(args.outputs), is_streamed(args.sum)};
}

template <class T>
KERASLLM_FLATTEN void normalise_row(const LayerNormForward<T>& args, Streams streams, int64_t row,
                                    T* buffer) {
  const int64_t dim = args.shape.dim;
  const T* values = args.inputs + row * dim;
  T* const sum = args.sum == nullptr ? nullptr : args.sum + row * dim;
  if (sum != nullptr) {
    T* const to = streams.sum ? buffer : sum;
    add_row(args, row, to);
    values = to;
  }
  const Sums moments =
      args.shape.rms ? zero_and_mean_square(values, dim) : mean_and_variance(values, dim);
  const float mean = moments.first;
  const float reciprocal_deviation = 1.0f / __builtin_sqrtf(moments.second + args.epsilon);
  args.mean[row] = mean;
  args.reciprocal_deviation[row] = reciprocal_deviation;
  const float *const gamma = args.gamma, *const beta = args.beta;
  T* const outputs = args.outputs + row * dim;
  for_each_vec(dim, [=](int64_t i, int64_t count) KERASLLM_INLINE {
    const Vec value = load_first(values + i, count);
    Vec v = (value - mean) * reciprocal_deviation;
    if (gamma != nullptr) v *= load_first(gamma + i, count);
    if (beta != nullptr) v += load_first(beta + i, count);
    stream_or_store_first(streams.outputs, outputs + i, v, count);
    if (streams.sum) stream(sum + i, value);
  });
}

template <class T>
void forward(const LayerNormForward<T>& args, Parallel& parallel) {
  constexpr int64_t kTaskElements = 32 * 1024;
  const int64_t rows = args.shape.rows;
  const Streams streams = streams_of(args);
  const int64_t task_rows = max_of(int64_t{1}, kTaskElements / max_of(int64_t{1}, args.shape.dim));
  parallel.for_each(ceil_div(rows, task_rows), [&](int64_t task) {
    const int64_t end = min_of(rows, (task + 1) * task_rows);
    const int64_t buffer_bytes = args.shape.dim * static_cast<int64_t>(sizeof(T));
    Scratch scratch(streams.sum ? buffer_bytes : 0);
    T* const buffer = streams.sum ? static_cast<T*>(scratch.take(buffer_bytes)) : nullptr;
    for (int64_t row = task * task_rows; row < end; ++row) {
      normalise_row(args, streams, row, buffer);
    }
    if (streams.outputs || streams.sum) stream_end();
  });
}

// With x the normalised row and g = d_outputs * gamma:
//   d_sum = reciprocal_deviation * (g - mean of g - x * mean of g * x), without the mean where rms
template <class T>
KERASLLM_FLATTEN void differentiate_row(const LayerNormBackward<T>& args, bool streams, int64_t row,
                                        float* gamma_sums, float* beta_sums) {
  const int64_t dim = args.shape.dim;
  const float mean = args.mean[row], reciprocal_deviation = args.reciprocal_deviation[row];
  const T *const sum = args.sum + row * dim, *const d_outputs = args.d_outputs + row * dim;
  const float* const gamma = args.gamma;
  const auto normalised = [=](int64_t i, int64_t count) KERASLLM_INLINE {
    return (load_first(sum + i, count) - mean) * reciprocal_deviation;
  };
  const auto d_normalised = [=](Vec d, int64_t i, int64_t count) KERASLLM_INLINE {
    return gamma == nullptr ? d : d * load_first(gamma + i, count);
  };
  const Sums sums = row_sums(dim, [=](int64_t i, int64_t count) KERASLLM_INLINE {
    const Vec x = normalised(i, count), d = load_first(d_outputs + i, count);
    const Vec g = d_normalised(d, i, count);
    store_first(gamma_sums + i, load_first(gamma_sums + i, count) + d * x, count);
    store_first(beta_sums + i, load_first(beta_sums + i, count) + d, count);
    return Pair{g, g * x};
  });
  const float mean_g = args.shape.rms ? 0.0f : sums.first / static_cast<float>(dim);
  const float mean_gx = sums.second / static_cast<float>(dim);
  const T* const more = args.d_sum == nullptr ? nullptr : args.d_sum + row * dim;
  const auto gradient = [=](int64_t i, int64_t count) KERASLLM_INLINE {
    const Vec g = d_normalised(load_first(d_outputs + i, count), i, count);
    const Vec d = (g - mean_g - normalised(i, count) * mean_gx) * reciprocal_deviation;
    return more == nullptr ? d : d + load_first(more + i, count);
  };
  T* const d_inputs = args.d_inputs + row * dim;
  if (args.shape.dropout.threshold == 0) {
    for_each_vec(dim, [=](int64_t i, int64_t count) KERASLLM_INLINE {
      stream_or_store_first(streams, d_inputs + i, gradient(i, count), count);
    });
    return;
  }
  T* const d_residual = args.d_residual + row * dim;
  for_each_dropped(args.shape, row, [=](int64_t i, int64_t count, Vec factors) KERASLLM_INLINE {
    const Vec d = gradient(i, count);
    stream_or_store_first(streams, d_residual + i, d, count);
    stream_or_store_first(streams, d_inputs + i, d * factors, count);
  });
}

template <class T>
void backward(const LayerNormBackward<T>& args, Parallel& parallel) {
  const int64_t dim = args.shape.dim;
  const int64_t size = 2 * dim * static_cast<int64_t>(sizeof(float));
  Scratch scratch(size);
  float* const sums = static_cast<float*>(scratch.take(size));
  const auto is_streamed = [&](const T* result) {
    return result != args.sum && result != args.d_outputs && result != args.d_sum &&
           worth_streaming_at_once(result, args.shape.rows, dim);
  };
  const bool streams =
      is_streamed(args.d_inputs) && (args.d_residual == nullptr || is_streamed(args.d_residual));
  sum_columns(args.shape.rows, 2 * dim, sums, parallel, [&](int64_t row, int64_t end, float* part) {
    for (; row < end; ++row) differentiate_row(args, streams, row, part, part + dim);
    if (streams) stream_end();
  });
  __builtin_memcpy(args.d_gamma, sums, static_cast<size_t>(size) / 2);
  __builtin_memcpy(args.d_beta, sums + dim, static_cast<size_t>(size) / 2);
}

}  // namespace

extern const LayerNormKernels layer_norm_kernels = {&forward<float>, &forward<bfloat16>,
                                                    &backward<float>, &backward<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
