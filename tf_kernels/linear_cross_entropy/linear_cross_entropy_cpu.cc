// Linear cross-entropy, chunk of rows by chunk of rows (linear_cross_entropy_chunk.h); in a chunk
// the classes are shared out between the threads.
#include "linear_cross_entropy/linear_cross_entropy_chunk.h"
#include "linear_cross_entropy/linear_cross_entropy_dispatch.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

template <class T>
bool ignored(const LinearCrossEntropyInputs<T>& in, int64_t row) {
  return in.labels[row] == in.options.ignore_index;
}

// Losses where `results` is not null, and the gradients that are wanted.
template <class T>
void run(const LinearCrossEntropyInputs<T>& in, const LinearCrossEntropyForward<T>* results,
         const LinearCrossEntropyGradients& gradients, Parallel& parallel) {
  // The rows that count, one after the other.
  const int64_t list_bytes = in.rows * sizeof(int32_t);
  Scratch lists(2 * list_bytes + 64);
  auto* const active = static_cast<int32_t*>(lists.take(list_bytes));
  auto* const labels = static_cast<int32_t*>(lists.take(list_bytes));
  int64_t active_rows = 0;
  for (int64_t row = 0; row < in.rows; ++row) {
    if (!ignored(in, row)) {
      labels[active_rows] = in.labels[row];
      active[active_rows++] = static_cast<int32_t>(row);
      continue;
    }
    if (results != nullptr) {
      results->losses[row] = results->log_sum_exp[row] = 0.0f;
      results->correct[row] = false;
    }
    if (gradients.d_hidden_states != nullptr) {
      __builtin_memset(gradients.d_hidden_states + row * in.dim, 0, in.dim * sizeof(float));
    }
  }
  if (active_rows == 0) {
    const int64_t classes_bytes = in.vocabulary * sizeof(float);
    if (gradients.d_kernel != nullptr) {
      __builtin_memset(gradients.d_kernel, 0, in.dim * classes_bytes);
    }
    if (gradients.d_bias != nullptr) __builtin_memset(gradients.d_bias, 0, classes_bytes);
    return;
  }

  const LinearCrossEntropySizes<T> sizes(in, active_rows, gradients.wanted());
  LinearCrossEntropyMemory<T> memory;
  Scratch scratch(memory.divide(nullptr, sizes, gradients.wanted()));
  memory.divide(&scratch, sizes, gradients.wanted());
  const auto for_each = [&](int64_t tasks, const auto& body) {
    for_each_task(parallel, sizes.threads_pay, tasks, body);
  };
  for (int64_t begin = 0; begin < active_rows; begin += sizes.chunk_rows) {
    const int64_t count = min_of(sizes.chunk_rows, active_rows - begin);
    const LinearCrossEntropyChunk<T> chunk = {in,
                                              sizes,
                                              memory,
                                              gradients,
                                              active + begin,
                                              labels + begin,
                                              count,
                                              round_up(count, kPanel),
                                              begin == 0};
    for_each(chunk.pack_tasks(), [&](int64_t task) { chunk.pack(task); });
    for_each(sizes.groups, [&](int64_t group) { chunk.logits(group); });
    for (int64_t r = 0; r < chunk.width; r += kLanes) chunk.finish_rows(r, results);
    if (!gradients.wanted()) continue;
    // From the last on: its logits were made last, and are still in the cache.
    for_each(sizes.slots, [&](int64_t task) { chunk.gradient(sizes.slots - 1 - task); });
    if (gradients.d_hidden_states != nullptr) {
      constexpr int64_t kTaskRows = 32;
      for_each(ceil_div(count, kTaskRows), [&](int64_t task) {
        const int64_t end = min_of(count, (task + 1) * kTaskRows);
        for (int64_t r = task * kTaskRows; r < end; ++r) chunk.hidden_gradient(r);
      });
    }
  }
}

template <class T>
void forward(const LinearCrossEntropyForward<T>& args, Parallel& parallel) {
  run(args.inputs, &args, {nullptr, args.d_hidden_states, args.d_kernel, args.d_bias}, parallel);
}

// to = factor * from.
template <class T>
void scale(const float* from, int64_t size, float factor, T* to) {
  for (int64_t i = 0; i < size; i += kLanes) {
    store_first(to + i, load_first(from + i, size - i) * factor, size - i);
  }
}

template <class T>
void scale_all(const float* from, int64_t size, float factor, T* to, Parallel& parallel) {
  constexpr int64_t kTaskElements = 128 * 1024;
  for_each_task(parallel, size > kTaskElements, ceil_div(size, kTaskElements), [&](int64_t task) {
    const int64_t begin = task * kTaskElements;
    scale(from + begin, min_of(kTaskElements, size - begin), factor, to + begin);
  });
}

template <class T>
void scale_rows(const LinearCrossEntropyInputs<T>& in, const float* from, const float* factors,
                T* to, Parallel& parallel) {
  constexpr int64_t kTaskElements = 128 * 1024;
  const int64_t task_rows = max_of<int64_t>(1, kTaskElements / max_of<int64_t>(1, in.dim));
  for_each_task(parallel, in.rows > task_rows, ceil_div(in.rows, task_rows), [&](int64_t task) {
    const int64_t end = min_of(in.rows, (task + 1) * task_rows);
    for (int64_t row = task * task_rows; row < end; ++row) {
      // Saved as zero; what came for it, which may be no number, does not count.
      const float factor = ignored(in, row) ? 0.0f : factors[row];
      scale(from + row * in.dim, in.dim, factor, to + row * in.dim);
    }
  });
}

// Whether all rows that count have one and the same factor, as with a sum or a mean of losses.
template <class T>
bool one_factor(const LinearCrossEntropyInputs<T>& in, const float* factors, float* factor) {
  bool found = false;
  for (int64_t row = 0; row < in.rows; ++row) {
    if (ignored(in, row)) continue;
    if (!found) *factor = factors[row];
    found = true;
    if (factors[row] != *factor) return false;  // a NaN is equal to nothing
  }
  return true;
}

// A float32 result is its own sum; others have theirs beside them.
inline bool in_place(const float*) { return true; }
inline bool in_place(const bfloat16*) { return false; }

template <class T>
void backward(const LinearCrossEntropyBackward<T>& args, Parallel& parallel) {
  const LinearCrossEntropyInputs<T>& in = args.inputs;
  const int64_t hidden_size = in.rows * in.dim, kernel_size = in.vocabulary * in.dim;
  const bool saved = args.saved;
  if (saved) {
    scale_rows(in, args.saved_d_hidden_states, args.d_losses, args.d_hidden_states, parallel);
    float factor = 0.0f;
    if (one_factor(in, args.d_losses, &factor)) {
      scale_all(args.saved_d_kernel, kernel_size, factor, args.d_kernel, parallel);
      if (args.d_bias != nullptr) {
        scale_all(args.saved_d_bias, in.vocabulary, factor, args.d_bias, parallel);
      }
      return;
    }
  }
  const bool direct = in_place(args.d_kernel);
  const int64_t hidden_bytes = direct || saved ? 0 : hidden_size * sizeof(float);
  const int64_t kernel_bytes = direct ? 0 : kernel_size * sizeof(float);
  Scratch sums(hidden_bytes + kernel_bytes + 64);
  void* const hidden_sums = sums.take(hidden_bytes);
  void* const kernel_sums = sums.take(kernel_bytes);
  auto* const d_hidden_states =
      static_cast<float*>(direct ? static_cast<void*>(args.d_hidden_states) : hidden_sums);
  auto* const d_kernel =
      static_cast<float*>(direct ? static_cast<void*>(args.d_kernel) : kernel_sums);
  run<T>(in, nullptr, {args.d_losses, saved ? nullptr : d_hidden_states, d_kernel, args.d_bias},
         parallel);
  if (direct) return;
  if (!saved) scale_all(d_hidden_states, hidden_size, 1.0f, args.d_hidden_states, parallel);
  scale_all(d_kernel, kernel_size, 1.0f, args.d_kernel, parallel);
}

}  // namespace

extern const LinearCrossEntropyKernels linear_cross_entropy_kernels = {
    &forward<float>, &forward<bfloat16>, &backward<float>, &backward<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
