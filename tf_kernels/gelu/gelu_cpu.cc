// Element by element in registers: what it costs is reading and writing memory once.
#include "common/column_sums.h"
#include "common/streaming.h"
#include "gelu/gelu_activations.h"
#include "gelu/gelu_dispatch.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

template <class T>
inline Vec biased(const T* inputs, const float* bias, int64_t i, int64_t count) {
  const Vec x = load_first(inputs + i, count);
  return bias == nullptr ? x : x + load_first(bias + i, count);
}

// const float* bias + offset, of none still none.
inline const float* part_of(const float* bias, int64_t offset) {
  return bias == nullptr ? nullptr : bias + offset;
}

inline void add_to_sum(float* sums, int64_t i, int64_t count, Vec v) {
  if (sums != nullptr) store_first(sums + i, load_first(sums + i, count) + v, count);
}

template <class Act, bool kGated, class T>
KERASLLM_FLATTEN void forward_row(const GeluForward<T>& args, bool streams, int64_t row) {
  const int64_t dim = args.shape.dim;
  const T* const inputs = args.inputs + row * (kGated ? 2 : 1) * dim;
  const float* const bias = args.bias;
  T* const outputs = args.outputs + row * dim;
  for_each_vec(dim, [=](int64_t i, int64_t count) KERASLLM_INLINE {
    Vec y = Act::value(biased(inputs, bias, i, count));
    if (kGated) y *= biased(inputs + dim, part_of(bias, dim), i, count);
    stream_or_store_first(streams, outputs + i, y, count);
  });
}

// Adds the row's gradient by the inputs to `sums` (columns), if there are any.
template <class Act, bool kGated, class T>
KERASLLM_FLATTEN void backward_row(const GeluBackward<T>& args, bool streams, int64_t row,
                                   float* sums) {
  const int64_t dim = args.shape.dim, columns = (kGated ? 2 : 1) * dim;
  const T *const inputs = args.inputs + row * columns, *const d_outputs =
                                                           args.d_outputs + row * dim;
  const float* const bias = args.bias;
  T* const d_inputs = args.d_inputs + row * columns;
  for_each_vec(dim, [=](int64_t i, int64_t count) KERASLLM_INLINE {
    const Point act = Act::point(biased(inputs, bias, i, count));
    const Vec d = load_first(d_outputs + i, count);
    Vec d_gate = d * act.slope;
    if (kGated) {
      d_gate *= biased(inputs + dim, part_of(bias, dim), i, count);
      const Vec d_value = d * act.value;
      stream_or_store_first(streams, d_inputs + dim + i, d_value, count);
      add_to_sum(sums == nullptr ? nullptr : sums + dim, i, count, d_value);
    }
    stream_or_store_first(streams, d_inputs + i, d_gate, count);
    add_to_sum(sums, i, count, d_gate);
  });
}

template <class Act, bool kGated, class T>
void forward_of(const GeluForward<T>& args, Parallel& parallel) {
  constexpr int64_t kTaskElements = 32 * 1024;
  const int64_t rows = args.shape.rows;
  const int64_t task_rows = max_of(int64_t{1}, kTaskElements / max_of(int64_t{1}, args.shape.dim));
  const bool streams =
      args.outputs != args.inputs && worth_streaming_at_once(args.outputs, rows, args.shape.dim);
  parallel.for_each(ceil_div(rows, task_rows), [&](int64_t task) {
    const int64_t end = min_of(rows, (task + 1) * task_rows);
    for (int64_t row = task * task_rows; row < end; ++row) {
      forward_row<Act, kGated>(args, streams, row);
    }
    if (streams) stream_end();
  });
}

template <class Act, bool kGated, class T>
void backward_of(const GeluBackward<T>& args, Parallel& parallel) {
  const bool sum = args.d_bias != nullptr;
  const int64_t columns = sum ? gelu_columns(args.shape) : 0;
  const bool streams =
      args.d_inputs != args.inputs && args.d_inputs != args.d_outputs &&
      worth_streaming_at_once(args.d_inputs, (kGated ? 2 : 1) * args.shape.rows, args.shape.dim);
  sum_columns(args.shape.rows, columns, args.d_bias, parallel,
              [&](int64_t row, int64_t end, float* sums) {
                for (; row < end; ++row) {
                  backward_row<Act, kGated>(args, streams, row, sum ? sums : nullptr);
                }
                if (streams) stream_end();
              });
}

KERASLLM_ACTIVATION_FORMS(forward, GeluForward)
KERASLLM_ACTIVATION_FORMS(backward, GeluBackward)

}  // namespace

extern const GeluKernels gelu_kernels = {&forward<float>, &forward<bfloat16>, &backward<float>,
                                         &backward<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
